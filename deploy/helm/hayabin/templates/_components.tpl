{{/*
What runs: one table. A component is an image with arguments; `settings` and `secrets` are the environment variables that
its code reads, `reaches` is where it connects to (for NetworkPolicies), `queues` is the backlog that KEDA scales it by.
*/}}
{{- define "hayabin.components" -}}
api:
  service: api
  workload: Deployment
  args: [services.api.main, serve]
  ports: {http: 8080, admin: 9090}
  settings: [HAYABIN_HTTP_HOST, HAYABIN_HTTP_PORT, HAYABIN_PUBLIC_URL, HAYABIN_RETURN_PATH_DOMAIN]
  secrets: [databaseUrl, brokerUrl, masterKey, tokenSecret]
  reaches: [database, broker]
scheduler:
  service: api
  workload: Deployment
  args: [services.api.main, scheduler]
  ports: {admin: 9090}
  settings: []
  secrets: [databaseUrl, brokerUrl]
  reaches: [database, broker]
renderer:
  service: renderer
  workload: Deployment
  args: [services.renderer.main]
  ports: {admin: 9090}
  settings: [HAYABIN_PUBLIC_URL, HAYABIN_RETURN_PATH_DOMAIN]
  secrets: [databaseUrl, brokerUrl, masterKey, tokenSecret]
  reaches: [database, broker]
  queues: [render.bulk, render.transactional]
tracker:
  service: tracker
  workload: Deployment
  args: [services.tracker.main]
  ports: {http: 8080, admin: 9090}
  settings: [HAYABIN_HTTP_HOST, HAYABIN_HTTP_PORT, HAYABIN_PUBLIC_URL]
  secrets: [databaseUrl, brokerUrl, tokenSecret]
  reaches: [database, broker]
  queues: [events.engagement]
bounce:
  service: bounce
  workload: Deployment
  args: [services.bounce.main]
  ports: {smtp: 2525, admin: 9090}
  settings: [HAYABIN_BOUNCE_HOST, HAYABIN_BOUNCE_PORT, HAYABIN_RETURN_PATH_DOMAIN]
  secrets: [databaseUrl, brokerUrl, tokenSecret]
  reaches: [database, broker]
  queues: [events.delivery, events.bounce]
dispatcher:
  service: dispatcher
  workload: StatefulSet
  args: [services.dispatcher.main]
  ports: {admin: 9090}
  settings: [HAYABIN_SMTP_PORT, HAYABIN_DNS_SERVERS]
  secrets: [databaseUrl, brokerUrl]
  reaches: [database, broker, smtp]
migrate:
  service: api
  workload: Job
  args: [hayabin.database.migrate]
  ports: {}
  settings: []
  secrets: [databaseUrl]
  reaches: [database]
{{- end -}}

{{/* Every setting that is no secret: variable and value. Takes the root. */}}
{{- define "hayabin.settings" -}}
HAYABIN_PUBLIC_URL: {{ .Values.settings.publicUrl | quote }}
HAYABIN_RETURN_PATH_DOMAIN: {{ .Values.settings.returnPathDomain | quote }}
HAYABIN_LOG_LEVEL: {{ .Values.settings.logLevel | quote }}
HAYABIN_OTLP_ENDPOINT: {{ .Values.settings.otlpEndpoint | quote }}
HAYABIN_TRACE_SAMPLE_RATIO: {{ .Values.settings.traceSampleRatio | quote }}
HAYABIN_DRAIN_TIMEOUT_S: {{ .Values.settings.drainTimeoutS | quote }}
HAYABIN_DNS_SERVERS: {{ join "," .Values.settings.dnsServers | quote }}
HAYABIN_ADMIN_HOST: 0.0.0.0
HAYABIN_ADMIN_PORT: "9090"
HAYABIN_HTTP_HOST: 0.0.0.0
HAYABIN_HTTP_PORT: "8080"
HAYABIN_BOUNCE_HOST: 0.0.0.0
HAYABIN_BOUNCE_PORT: "2525"
HAYABIN_SMTP_PORT: {{ .Values.dispatcher.smtpPort | quote }}
{{- end -}}

{{/* Variables that every process reads. */}}
{{- define "hayabin.processSettings" -}}
[HAYABIN_ADMIN_HOST, HAYABIN_ADMIN_PORT, HAYABIN_LOG_LEVEL, HAYABIN_OTLP_ENDPOINT, HAYABIN_TRACE_SAMPLE_RATIO, HAYABIN_DRAIN_TIMEOUT_S]
{{- end -}}

{{/* The variable that each secret is given in. */}}
{{- define "hayabin.secretVariables" -}}
databaseUrl: HAYABIN_DATABASE_URL
brokerUrl: HAYABIN_BROKER_URL
masterKey: HAYABIN_MASTER_KEY
tokenSecret: HAYABIN_TOKEN_SECRET
{{- end -}}

{{/* The data of a component's ConfigMap. Takes {root, component, facts, pool?}. What is empty is left to the code's default. */}}
{{- define "hayabin.config" -}}
{{- $all := fromYaml (include "hayabin.settings" .root) -}}
{{- $data := dict -}}
{{- range $variable := concat (fromYamlArray (include "hayabin.processSettings" .root)) .facts.settings -}}
{{- $value := get $all $variable -}}
{{- if $value }}{{ $_ := set $data $variable $value }}{{ end -}}
{{- end -}}
{{- with .pool -}}
{{- $_ := set $data "HAYABIN_POOL" .name -}}
{{- $_ := set $data "HAYABIN_ADMIN_PORT" (toString (include "hayabin.adminPort" $)) -}}
{{- if eq .egress "hostNetwork" }}{{ $_ := unset $data "HAYABIN_ADMIN_HOST" }}{{ end -}}
{{- end -}}
{{- toYaml (merge (dict) (default (dict) (get .root.Values .component).env) $data) -}}
{{- end -}}

{{/* The admin port. Takes {pool?}. */}}
{{- define "hayabin.adminPort" -}}
{{- if .pool }}{{ default 9090 .pool.adminPort | int }}{{ else }}9090{{ end -}}
{{- end -}}

{{/* What each replica of a pool sends from: file name and content. Takes the pool and the name of its StatefulSet. */}}
{{- define "hayabin.sourceFiles" -}}
{{- $files := dict -}}
{{- range $ordinal, $replica := .pool.replicas -}}
{{- if eq $.pool.egress "hostNetwork" -}}
{{- $pairs := list -}}
{{- range $replica.sourceIps }}{{ $pairs = append $pairs (printf "%s=%s" .address .ehlo) }}{{ end -}}
{{- $_ := set $files $replica.node (join "," $pairs) -}}
{{- else -}}
{{- $_ := set $files (printf "%s-%d" $.name $ordinal) $replica.ehlo -}}
{{- end -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}
