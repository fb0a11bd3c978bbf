{{/*
What a schema cannot say: values that are missing together, or contradict each other. Every message says what to do.
Each template below takes the root and gives a YAML list of messages.
*/}}
{{- define "hayabin.contradictions" -}}
{{- $all := list -}}
{{- range list "required" "secrets" "scaling" "pools" "addresses" "others" -}}
{{- $all = concat $all (fromYamlArray (include (printf "hayabin.contradictions.%s" .) $)) -}}
{{- end -}}
{{- if $all -}}
{{- fail (printf "\n\nThe values cannot be installed:\n- %s\n" (join "\n- " $all)) -}}
{{- end -}}
{{- end -}}

{{- define "hayabin.contradictions.required" -}}
{{- $found := list -}}
{{- if not .Values.settings.publicUrl -}}
{{- $found = append $found "settings.publicUrl is not set: give the tracker's base URL as recipients reach it, for example https://t.example.com" -}}
{{- end -}}
{{- if not .Values.settings.returnPathDomain -}}
{{- $found = append $found "settings.returnPathDomain is not set: give the domain whose MX will be the bounce Service, for example bounce.example.com" -}}
{{- end -}}
{{- if not .Values.pools -}}
{{- $found = append $found "pools is empty, so nothing could be sent: describe at least one IP pool (README, section Pools)" -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- define "hayabin.contradictions.secrets" -}}
{{- $found := list -}}
{{- $given := .Values.secrets.values -}}
{{- if and .Values.secrets.existingSecret $given -}}
{{- $found = append $found "secrets.existingSecret and secrets.values are both given: keep the Secret in existingSecret and remove secrets.values" -}}
{{- else if not (or .Values.secrets.existingSecret $given) -}}
{{- $found = append $found (printf "there is no default secret: create a Secret with the keys %s and name it in secrets.existingSecret" (join ", " (values .Values.secrets.keys | sortAlpha))) -}}
{{- else if $given -}}
{{- range $secret := keys .Values.secrets.keys | sortAlpha -}}
{{- if not (get $given $secret) -}}
{{- $found = append $found (printf "secrets.values.%s is not set: give all four secrets, or a Secret in secrets.existingSecret" $secret) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- define "hayabin.contradictions.scaling" -}}
{{- $found := list -}}
{{- range $component := list "api" "renderer" "tracker" "bounce" -}}
{{- range $way := list "autoscaling" "keda" -}}
{{- $scaling := dig $way (dict) (get $.Values $component) -}}
{{- if and $scaling $scaling.enabled -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- $found = append $found (printf "%s.%s.minReplicas (%d) is above maxReplicas (%d): lower one or raise the other" $component $way (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasPrefix "postgres" (default "" .Values.secrets.values.brokerUrl) -}}
{{- range $component := list "renderer" "tracker" "bounce" -}}
{{- if (get $.Values $component).keda.enabled -}}
{{- $found = append $found (printf "%s.keda counts RabbitMQ's queues, and secrets.values.brokerUrl is the embedded broker: switch keda off or use RabbitMQ" $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.api.autoscaling.enabled (not (dig "requests" "cpu" "" .Values.api.resources)) -}}
{{- $found = append $found "api.autoscaling measures CPU against the request, and api.resources.requests.cpu is not set: set it" -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- define "hayabin.contradictions.pools" -}}
{{- $found := list -}}
{{- $names := list -}}
{{- range $pool := .Values.pools -}}
{{- if has $pool.name $names -}}
{{- $found = append $found (printf "pool %s is described twice: give each pool its own name" $pool.name) -}}
{{- end -}}
{{- $names = append $names $pool.name -}}
{{- $object := printf "%s-pool-%s" (include "hayabin.fullname" $) $pool.name -}}
{{- if gt (len $object) 52 -}}
{{- $found = append $found (printf "the StatefulSet's name %s is longer than 52 characters: shorten the pool's name or set fullnameOverride" $object) -}}
{{- end -}}
{{- if and $pool.proxiesSecret (ne $pool.egress "socks5") -}}
{{- $found = append $found (printf "pool %s has a proxiesSecret and egress %s, so the proxies would not be used: make its egress socks5 or remove it" $pool.name $pool.egress) -}}
{{- end -}}
{{- if and (fromYaml (include "hayabin.poolValues" (dict "root" $ "pool" $pool))).dnssec (not $.Values.settings.dnsServers) -}}
{{- $found = append $found (printf "pool %s believes the resolvers' word on DNSSEC (dnssec), and a cluster's own resolver does not validate: name resolvers that do in settings.dnsServers" $pool.name) -}}
{{- end -}}
{{- if eq $pool.egress "hostNetwork" -}}
{{- range $key := list "nodeSelector" "affinity" -}}
{{- if get $pool $key -}}
{{- $found = append $found (printf "pool %s uses hostNetwork, so its replicas name their nodes: remove its %s" $pool.name $key) -}}
{{- end -}}
{{- end -}}
{{- $nodes := list -}}
{{- range $pool.replicas -}}
{{- if has .node $nodes -}}
{{- $found = append $found (printf "pool %s has two replicas on node %s: put the addresses of a node into one replica" $pool.name .node) -}}
{{- end -}}
{{- $nodes = append $nodes .node -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- define "hayabin.contradictions.addresses" -}}
{{- $found := list -}}
{{- $owners := dict -}}
{{- $ports := dict -}}
{{- range $pool := .Values.pools -}}
{{- range $ordinal, $replica := $pool.replicas -}}
{{- $owner := printf "pool %s replica %d" $pool.name $ordinal -}}
{{- $addresses := list -}}
{{- with $replica.publicAddress }}{{ $addresses = append $addresses . }}{{ end -}}
{{- range $replica.sourceIps }}{{ $addresses = append $addresses .address }}{{ end -}}
{{- range $address := $addresses -}}
{{- $key := lower $address -}}
{{- if regexMatch "[A-F]|(^|:)0[0-9a-fA-F]|(^|:)0::|::0(:|$)|(^|:)0:0(:|$)" $address -}}
{{- $found = append $found (printf "write %s (%s) in the short form of RFC 5952, so that the same address is seen to be the same" $address $owner) -}}
{{- end -}}
{{- if hasKey $owners $key -}}
{{- $found = append $found (printf "source address %s is given to %s and to %s: limits per address hold only if one replica owns it, so remove it from one" $address (get $owners $key) $owner) -}}
{{- end -}}
{{- $_ := set $owners $key $owner -}}
{{- end -}}
{{- if $replica.node -}}
{{- $port := printf "%s port %s" $replica.node (include "hayabin.adminPort" (dict "pool" $pool)) -}}
{{- $holder := get $ports $port -}}
{{- if and $holder (ne $holder $pool.name) -}}
{{- $found = append $found (printf "pools %s and %s both want %s: give one of them another adminPort" $holder $pool.name $port) -}}
{{- end -}}
{{- $_ := set $ports $port $pool.name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- define "hayabin.contradictions.others" -}}
{{- $found := list -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- $found = append $found "serviceAccount.create is false: name an existing account in serviceAccount.name" -}}
{{- end -}}
{{- if and .Values.api.ingress.enabled (not .Values.api.ingress.host) -}}
{{- $found = append $found "api.ingress.enabled needs api.ingress.host" -}}
{{- end -}}
{{- $host := .Values.tracker.ingress.host -}}
{{- if and .Values.tracker.ingress.enabled $host .Values.settings.publicUrl (ne $host (include "hayabin.publicHost" .)) -}}
{{- $found = append $found (printf "tracker.ingress.host (%s) is not the host of settings.publicUrl (%s), so links in mails would lead elsewhere: make them the same or leave the host empty" $host .Values.settings.publicUrl) -}}
{{- end -}}
{{- $owned := concat (list "HAYABIN_POOL" "HAYABIN_SOURCE_IPS" "HAYABIN_SOCKS5_PROXIES") (keys (fromYaml (include "hayabin.settings" .))) (values (fromYaml (include "hayabin.secretVariables" .))) -}}
{{- range $component := list "api" "scheduler" "renderer" "tracker" "bounce" "dispatcher" -}}
{{- range $variable, $_ := default (dict) (get $.Values $component).env -}}
{{- if has $variable $owned -}}
{{- $found = append $found (printf "%s.env.%s is set by the chart: remove it there and use the value under settings, secrets or pools" $component $variable) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}
