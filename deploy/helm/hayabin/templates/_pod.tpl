{{/*
The pod of every component, as the restricted Pod Security Standard wants it (host network aside).
Takes {root, component, facts, values, name, pool?}: `values` are the component's (for a pool: dispatcher's with the pool's on top).
*/}}
{{- define "hayabin.podTemplate" -}}
{{- $job := eq .facts.workload "Job" -}}
metadata:
  labels:
    {{- include "hayabin.labels" . | nindent 4 }}
    {{- with .values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "hayabin.podAnnotations" . | trim }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  {{- if $job }}
  restartPolicy: Never
  {{- end }}
  serviceAccountName: {{ if $job }}{{ include "hayabin.migrationAccountName" .root }}{{ else }}{{ include "hayabin.serviceAccountName" .root }}{{ end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- if not $job }}
  terminationGracePeriodSeconds: {{ include "hayabin.gracePeriodS" . }}
  {{- end }}
  {{- if .pool }}
  {{- if eq .pool.egress "hostNetwork" }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    {{- with .root.Values.podSecurity.runAsUser }}
    runAsUser: {{ int64 . }}
    {{- end }}
    {{- with .root.Values.podSecurity.runAsGroup }}
    runAsGroup: {{ int64 . }}
    {{- end }}
    seccompProfile:
      type: RuntimeDefault
  {{- with .values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with include "hayabin.placement" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - {{ include "hayabin.container" . | indent 6 | trim }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: {{ .values.tmpSizeLimit }}
    {{- if .pool }}
    - name: sources
      configMap:
        name: {{ .name }}-sources
    {{- if eq .pool.egress "socks5" }}
    - name: proxies
      secret:
        secretName: {{ .pool.proxiesSecret }}
        defaultMode: 0444
    {{- end }}
    {{- with .root.Values.dispatcher.caConfigMap }}
    - name: ca
      configMap:
        name: {{ . }}
    {{- end }}
    {{- end }}
{{- end -}}

{{/* With what the process reads only at its start: a change of it restarts the pods. */}}
{{- define "hayabin.podAnnotations" -}}
{{- if ne .facts.workload "Job" }}
checksum/config: {{ include "hayabin.config" . | sha256sum }}
{{- with .root.Values.secrets.values }}
checksum/secrets: {{ toYaml . | sha256sum }}
{{- end }}
{{- if .pool }}
checksum/sources: {{ include "hayabin.sourceFiles" . | sha256sum }}
{{- end }}
{{- end }}
{{- with .values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Longer than what the process may take to drain. Takes {root, facts}. */}}
{{- define "hayabin.gracePeriodS" -}}
{{- $settings := .root.Values.settings -}}
{{- add (ceil $settings.drainTimeoutS) (include "hayabin.preStopDelayS" .) 10 -}}
{{- end -}}

{{/* Only what stands behind a Service waits before SIGTERM. Takes {root, facts}. */}}
{{- define "hayabin.preStopDelayS" -}}
{{- if or .facts.ports.http .facts.ports.smtp }}{{ int .root.Values.settings.preStopDelayS }}{{ else }}0{{ end -}}
{{- end -}}

{{- define "hayabin.placement" -}}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $ownNodes := false }}
{{- with .pool }}{{ $ownNodes = eq .egress "hostNetwork" }}{{ end }}
{{- if $ownNodes }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        {{- range .pool.replicas }}
        - matchFields:
            - {key: metadata.name, operator: In, values: [{{ .node | quote }}]}
        {{- end }}
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "hayabin.selector" . | nindent 12 }}
{{- else }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else if ne .facts.workload "Job" }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "hayabin.selector" $ | nindent 8 }}
    {{- if eq $.facts.workload "Deployment" }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}
