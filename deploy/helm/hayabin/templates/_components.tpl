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
  settings: [HAYABIN_HTTP_HOST, HAYABIN_HTTP_PORT, HAYABIN_PUBLIC_URL, HAYABIN_RETURN_PATH_DOMAIN, HAYABIN_TRUSTED_PROXIES, HAYABIN_BACKLOG_LIMIT, HAYABIN_OUTBOX_LIMIT]
  secrets: [databaseUrl, brokerUrl, masterKey, tokenSecret]
  reaches: [database, broker]
scheduler:
  service: api
  workload: Deployment
  args: [services.api.main, scheduler]
  ports: {admin: 9090}
  settings: [HAYABIN_TRANSCRIPT_DAYS, HAYABIN_UNKNOWN_BULK, HAYABIN_UNKNOWN_TRANSACTIONAL]
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
  queues: [render.bulk, render.first, render.transactional]
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
  settings: [HAYABIN_SMTP_PORT, HAYABIN_DNS_SERVERS, HAYABIN_TRANSCRIPT_DAYS, HAYABIN_CA_FILE]
  secrets: [databaseUrl, brokerUrl]
  reaches: [database, broker]
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
HAYABIN_TRUSTED_PROXIES: {{ join "," .Values.api.trustedProxies | quote }}
HAYABIN_BACKLOG_LIMIT: {{ int64 .Values.api.backlogLimit | quote }}
HAYABIN_OUTBOX_LIMIT: {{ int64 .Values.api.outboxLimit | quote }}
HAYABIN_TRANSCRIPT_DAYS: {{ .Values.settings.transcriptDays | quote }}
HAYABIN_UNKNOWN_BULK: {{ .Values.settings.unknownBulk }}
HAYABIN_UNKNOWN_TRANSACTIONAL: {{ .Values.settings.unknownTransactional }}
HAYABIN_CA_FILE: {{ if .Values.dispatcher.caConfigMap }}/etc/hayabin/ca/ca.crt{{ end }}
{{ include "hayabin.engine" .Values.dispatcher }}
{{- end -}}

{{/* The settings of the delivery engine. Takes the dispatcher's values, with the pool's on top. */}}
{{- define "hayabin.engine" -}}
HAYABIN_EGRESS_PROBES: {{ join "," .egressProbes | quote }}
HAYABIN_EGRESS_TIMEOUT_S: {{ .egressTimeoutS | quote }}
HAYABIN_MAX_CONNECTIONS: {{ int64 .maxConnections | quote }}
HAYABIN_DETACHED_MAILS: {{ int64 .detachedMails | quote }}
HAYABIN_MAX_WAIT_S: {{ .maxWaitS | quote }}
HAYABIN_IDLE_S: {{ .idleS | quote }}
HAYABIN_DISPATCH_PREFETCH: {{ int64 .prefetch | quote }}
HAYABIN_RETRY_MAX_AGE_S: {{ int64 .retryMaxAgeS | quote }}
HAYABIN_DNSSEC: {{ .dnssec | quote }}
HAYABIN_MTA_STS: {{ .mtaSts | quote }}
HAYABIN_ALLOW_PRIVATE_MX: {{ .allowPrivateMx | quote }}
{{- end -}}

{{/* The dispatcher's values for one pool: `merge` would take a false or a 0 of the pool for nothing. Takes {root, pool}. */}}
{{- define "hayabin.poolValues" -}}
{{- $values := deepCopy .root.Values.dispatcher -}}
{{- range $key, $value := omit .pool "name" "egress" "adminPort" "proxiesSecret" "replicas" -}}
{{- if kindIs "map" $value -}}
{{- $_ := set $values $key (mergeOverwrite (default (dict) (get $values $key)) (deepCopy $value)) -}}
{{- else -}}
{{- $_ := set $values $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $values -}}
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
{{- range $variable, $value := fromYaml (include "hayabin.engine" (fromYaml (include "hayabin.poolValues" $))) -}}
{{- if $value }}{{ $_ := set $data $variable $value }}{{ end -}}
{{- end -}}
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
{{- $pairs := list -}}
{{- range $replica.sourceIps }}{{ $pairs = append $pairs (printf "%s=%s" .address .ehlo) }}{{ end -}}
{{- $own := default (printf "%s-%d" $.name $ordinal) $replica.node -}}
{{- $_ := set $files $own (default (join "," $pairs) $replica.ehlo) -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}
