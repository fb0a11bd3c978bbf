{{/* The one container of a pod. Takes {root, component, facts, values, name, pool?}. */}}
{{- define "hayabin.container" -}}
name: {{ .component }}
image: {{ include "hayabin.image" (dict "root" .root "service" .facts.service) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- if .pool }}
{{- include "hayabin.sourceCommand" . | nindent 0 }}
{{- else }}
args: {{ toJson .facts.args }}
{{- end }}
{{- if ne .facts.workload "Job" }}
envFrom:
  - configMapRef:
      name: {{ .name }}
{{- end }}
env:
  {{- include "hayabin.containerEnv" . | trim | nindent 2 }}
{{- if .facts.ports }}
ports:
  {{- range $port, $number := .facts.ports }}
  - name: {{ $port }}
    containerPort: {{ if eq $port "admin" }}{{ include "hayabin.adminPort" $ }}{{ else }}{{ $number }}{{ end }}
    protocol: TCP
  {{- end }}
startupProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}
{{- if ne (include "hayabin.preStopDelayS" .) "0" }}
lifecycle:
  preStop:
    exec:
      command: [sleep, {{ include "hayabin.preStopDelayS" . | quote }}]
{{- end }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if .pool }}
  - name: sources
    mountPath: /etc/hayabin/sources
    readOnly: true
  {{- if eq .pool.egress "socks5" }}
  - name: proxies
    mountPath: /etc/hayabin/proxies
    readOnly: true
  {{- end }}
  {{- if .root.Values.dispatcher.caConfigMap }}
  - name: ca
    mountPath: /etc/hayabin/ca
    readOnly: true
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "hayabin.containerEnv" -}}
{{- $secret := include "hayabin.secretName" .root }}
{{- if eq .facts.workload "Job" }}
{{- $secret = include "hayabin.migrationSecretName" .root }}
{{- end }}
{{- $variables := fromYaml (include "hayabin.secretVariables" .root) }}
{{- range .facts.secrets }}
- name: {{ get $variables . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ get $.root.Values.secrets.keys . }}
{{- end }}
{{- if .pool }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- if eq .pool.egress "hostNetwork" }}
# The node's cluster address alone: metrics do not stand on the public addresses.
- name: HAYABIN_ADMIN_HOST
  value: $(POD_IP)
{{- end }}
{{- end }}
{{- end -}}

{{/*
A source address belongs to one replica, so each replica reads its own: by the node it is on (hostNetwork) or by its ordinal
(podIP, socks5), and with socks5 the proxy of each address beside it. A replica that has none of its own must not start.
*/}}
{{- define "hayabin.sourceCommand" -}}
{{- $host := eq .pool.egress "hostNetwork" -}}
command: [/bin/sh, -euc]
args:
  - |
    file="/etc/hayabin/sources/{{ if $host }}${NODE_NAME}{{ else }}${POD_NAME}{{ end }}"
    if [ ! -s "$file" ]; then
      echo "pool {{ .pool.name }} gives no source address to $file: correct pools[].replicas and upgrade" >&2
      exit 78
    fi
    HAYABIN_SOURCE_IPS="{{ if eq .pool.egress "podIP" }}${POD_IP}={{ end }}$(cat "$file")"
    export HAYABIN_SOURCE_IPS
    {{- if eq .pool.egress "socks5" }}
    HAYABIN_SOCKS5_PROXIES=""
    for pair in $(tr , ' ' < "$file"); do
      address="${pair%%=*}"
      proxy="/etc/hayabin/proxies/$(printf %s "$address" | tr : -)"
      if [ ! -s "$proxy" ]; then
        echo "pool {{ .pool.name }} has no proxy for $address: the Secret {{ .pool.proxiesSecret }} lacks the key ${proxy##*/}" >&2
        exit 78
      fi
      HAYABIN_SOCKS5_PROXIES="${HAYABIN_SOCKS5_PROXIES:+$HAYABIN_SOCKS5_PROXIES,}$address=$(cat "$proxy")"
    done
    export HAYABIN_SOCKS5_PROXIES
    {{- end }}
    exec python -m {{ join " " .facts.args }}
{{- end -}}
