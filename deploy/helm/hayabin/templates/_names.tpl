{{/* Names and labels. Every name starts with the full name; selectors are name + instance + component (+ pool). */}}

{{- define "hayabin.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that selectors use. Takes {root, component, pool?}. They never change between releases of the chart. */}}
{{- define "hayabin.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .pool }}
hayabin-pool: {{ .name }}
{{- end }}
{{- end -}}

{{/* All labels. Takes {root, component, pool?}. */}}
{{- define "hayabin.labels" -}}
{{ include "hayabin.selector" . }}
app.kubernetes.io/part-of: hayabin
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "hayabin.serviceAccountName" -}}
{{- default (include "hayabin.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* The account of the migration Job: the chart's own account does not exist yet when the hook runs. */}}
{{- define "hayabin.migrationAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- printf "%s-migrate" (include "hayabin.fullname" .) -}}
{{- else -}}
{{- include "hayabin.serviceAccountName" . -}}
{{- end -}}
{{- end -}}

{{- define "hayabin.secretName" -}}
{{- default (include "hayabin.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{/* The Secret of the migration Job: as above. */}}
{{- define "hayabin.migrationSecretName" -}}
{{- default (printf "%s-migrate" (include "hayabin.fullname" .)) .Values.secrets.existingSecret -}}
{{- end -}}

{{/* Image of one service. Takes {root, service}. */}}
{{- define "hayabin.image" -}}
{{- $image := .root.Values.image -}}
{{- $path := printf "%s/%s" $image.repository .service -}}
{{- with $image.registry }}{{ $path = printf "%s/%s" (trimSuffix "/" .) $path }}{{ end -}}
{{- $digest := get $image.digests .service -}}
{{- if $digest -}}
{{- printf "%s@%s" $path $digest -}}
{{- else -}}
{{- printf "%s:%s" $path (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}
