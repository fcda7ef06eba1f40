{{- define "remoting-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "remoting-gateway.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "remoting-gateway.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "remoting-gateway.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "remoting-gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "remoting-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "remoting-gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "remoting-gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "remoting-gateway.image" -}}
{{- $name := .Values.image.repository }}
{{- if .Values.image.registry }}{{ $name = printf "%s/%s" .Values.image.registry $name }}{{ end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "remoting-gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "remoting-gateway.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "remoting-gateway.tlsSecret" -}}
{{- if .Values.tls.existingSecret }}
{{- .Values.tls.existingSecret }}
{{- else if .Values.tls.certManager.enabled }}
{{- printf "%s-tls" (include "remoting-gateway.fullname" .) }}
{{- else }}
{{- fail "tls: name a Secret in tls.existingSecret, or set tls.certManager.enabled, or tls.enabled=false behind an ingress" }}
{{- end }}
{{- end }}

{{- define "remoting-gateway.adminSecret" -}}
{{- default (printf "%s-admin" (include "remoting-gateway.fullname" .)) .Values.admin.existingSecret }}
{{- end }}

{{- define "remoting-gateway.servicePort" -}}
{{- if .Values.service.port }}{{ .Values.service.port }}{{ else }}{{ ternary 443 80 .Values.tls.enabled }}{{ end }}
{{- end }}

{{- define "remoting-gateway.portName" -}}
{{ ternary "https" "http" .Values.tls.enabled }}
{{- end }}

{{/* Seconds of "500ms", "20s", "5m", "2h" or "1d", as gateway.yaml has them; rounded up. */}}
{{- define "remoting-gateway.seconds" -}}
{{- $number := regexFind "^[0-9.]+" . | float64 }}
{{- $unit := regexFind "[a-z]+$" . }}
{{- $factor := index (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0) $unit }}
{{- ceil (mulf $number $factor) | int }}
{{- end }}

{{/* What the gateway may need to end, and 10 s: docs/operations.md, "Ending". */}}
{{- define "remoting-gateway.gracePeriod" -}}
{{- $shutdown := default dict .Values.config.shutdown }}
{{- $wait := include "remoting-gateway.seconds" (default "0s" $shutdown.pre_stop) | int }}
{{- $drain := include "remoting-gateway.seconds" (default "300s" $shutdown.drain_timeout) | int }}
{{- add $wait $drain 10 }}
{{- end }}

{{/* As in host:port: IPv6 has brackets. */}}
{{- define "remoting-gateway.host" -}}
{{- if contains ":" .Values.listener.host }}{{ printf "[%s]" .Values.listener.host }}{{ else }}{{ .Values.listener.host }}{{ end }}
{{- end }}

{{- define "remoting-gateway.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* gateway.yaml: config, and what the chart knows better. */}}
{{- define "remoting-gateway.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if not $config.controllers }}
{{- fail "config.controllers: name at least one, such as  main: {url: \"http://jenkins.jenkins.svc:8080/\"}" }}
{{- end }}
{{- $listener := deepCopy .Values.listener.settings }}
{{- $_ := set $listener "address" (printf "%s:%d" (include "remoting-gateway.host" .) (int .Values.listener.port)) }}
{{- if .Values.tls.enabled }}
{{- $tls := default dict $listener.tls }}
{{- $pair := dict "certificate" "/etc/remoting-gateway-tls/tls.crt" "key" "/etc/remoting-gateway-tls/tls.key" }}
{{- $_ := set $tls "certificates" (list $pair) }}
{{- $_ := set $listener "tls" $tls }}
{{- else if $listener.tls }}
{{- fail "listener.settings.tls: tls.enabled is false" }}
{{- end }}
{{- $_ := set $config "listeners" (list $listener) }}
{{- $_ := set $config "state_dir" "/var/lib/remoting-gateway/state" }}
{{- if .Values.admin.enabled }}
{{- $address := printf "%s:%d" (include "remoting-gateway.host" .) (int .Values.admin.port) }}
{{- $_ := set $config "admin" (dict "listen" $address "token_file" "/etc/remoting-gateway-admin/token") }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* Not empty if annotations have the ingress speak TLS to the Service, or pass it through. */}}
{{- define "remoting-gateway.ingressSpeaksTls" -}}
{{- range $key, $value := merge dict .Values.ingress.annotations .Values.service.annotations }}
{{- if and (regexMatch "(backend-protocol|ssl-passthrough|server-ssl|ssl-services|serversscheme|app-protocols|upstream-protocol\\.tls|konghq\\.com/protocol)$" $key) (not (has (lower $value) (list "" "false" "http"))) }}yes{{ end }}
{{- end }}
{{- end }}

{{- define "remoting-gateway.hasBackendTLSPolicy" -}}
{{- range .Values.extraObjects }}{{ if eq (toString .kind) "BackendTLSPolicy" }}yes{{ end }}{{ end }}
{{- end }}

{{- define "remoting-gateway.check" -}}
{{- $many := or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}
{{- if and .Values.persistence.enabled $many }}
{{- fail "persistence.enabled: one state belongs to one gateway; use one replica and no autoscaling, or no persistence" }}
{{- end }}
{{- range $name, $controller := .Values.config.controllers }}
{{- if and $controller.credentials (has "nodes" (default list $controller.credentials.modes)) }}
{{- if $many }}
{{- fail (printf "config.controllers.%s.credentials.modes: issued secrets are each pod's own; use one replica and no autoscaling, or another mode" $name) }}
{{- end }}
{{- if not $.Values.persistence.enabled }}
{{- fail (printf "config.controllers.%s.credentials.modes: issued secrets would be gone with the pod; set persistence.enabled, or use another mode" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name := list "serviceMonitor" "podMonitor" }}
{{- if and (index $.Values.metrics $name).enabled (not $.Values.admin.enabled) }}
{{- fail (printf "metrics.%s.enabled: metrics are on the admin listener; set admin.enabled" $name) }}
{{- end }}
{{- if and (index $.Values.metrics $name).enabled $.Values.networkPolicy.enabled (not $.Values.networkPolicy.adminFrom) }}
{{- fail (printf "networkPolicy.adminFrom: name Prometheus' pods, or metrics.%s gets no answer" $name) }}
{{- end }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
{{- fail "metrics.podMonitor.enabled: with metrics.serviceMonitor.enabled everything would be counted twice; enable one" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: name at least one" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs: name the Gateway" }}
{{- end }}
{{- if and .Values.tls.enabled .Values.ingress.enabled (not (include "remoting-gateway.ingressSpeaksTls" .)) }}
{{- fail "ingress.enabled: an ingress speaks plain HTTP to its backend, and the gateway would expect TLS; set tls.enabled=false and config.trusted_proxies, or have it speak TLS by its annotation, such as nginx.ingress.kubernetes.io/backend-protocol: HTTPS" }}
{{- end }}
{{- if and .Values.tls.enabled .Values.httpRoute.enabled (not (include "remoting-gateway.hasBackendTLSPolicy" .)) }}
{{- fail "httpRoute.enabled: a Gateway speaks plain HTTP to its backend, and the gateway would expect TLS; set tls.enabled=false and config.trusted_proxies, or put a BackendTLSPolicy for the Service into extraObjects" }}
{{- end }}
{{- $behind := or .Values.ingress.enabled .Values.httpRoute.enabled }}
{{- if and $behind (not .Values.tls.enabled) (not .Values.config.trusted_proxies) (not .Values.listener.settings.plain_agents) }}
{{- fail "config.trusted_proxies: name the network of what ends TLS, such as the pods' 10.244.0.0/16, or agents are refused" }}
{{- end }}
{{- with .Values.tls.certManager }}
{{- if and .enabled $.Values.tls.enabled (not (and .issuerRef .dnsNames)) }}
{{- fail "tls.certManager: issuerRef and tls.certManager.dnsNames are needed" }}
{{- end }}
{{- end }}
{{- if eq (int .Values.admin.port) (int .Values.listener.port) }}
{{- fail "admin.port: the listener has the same port" }}
{{- end }}
{{- end }}
