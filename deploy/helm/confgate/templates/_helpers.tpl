{{- define "confgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{- define "confgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else if contains (include "confgate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "confgate.name" .) | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "confgate.selector" -}}
app.kubernetes.io/name: {{ include "confgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "confgate.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{ include "confgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: confgate
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "confgate.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.image.registry }}{{ $repository = printf "%s/%s" . $repository }}{{ end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "confgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "confgate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "confgate.secret" -}}
{{- default (include "confgate.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{/* Whether workers have Redis: by the value, or by the key redis-url of a Secret that the chart can't read. */}}
{{- define "confgate.redis" -}}
{{- if or .Values.redis.url .Values.secrets.existingSecret -}}true{{- end -}}
{{- end -}}

{{/* What can't be told by the schema. */}}
{{- define "confgate.check" -}}
{{- if and (not (include "confgate.redis" .)) (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1)) -}}
{{- fail "confgate: several workers need redis.url: without it each worker would have a log of its own" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "confgate: autoscaling.maxReplicas is below autoscaling.minReplicas" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.targetCPUUtilizationPercentage) (not .Values.autoscaling.targetConnections) -}}
{{- fail "confgate: autoscaling needs targetCPUUtilizationPercentage or targetConnections" -}}
{{- end -}}
{{- if and (not .Values.auth.hmac) (not (index .Values.config "auth-jwks-url")) (ne (default "jwt" .Values.config.auth) "none") -}}
{{- fail "confgate: tokens need auth.hmac or config.auth-jwks-url" -}}
{{- end -}}
{{- if and .Values.sealing.enabled (not .Values.secrets.existingSecret) (not .Values.secrets.seal) -}}
{{- fail "confgate: sealing needs secrets.seal, or the key seal of secrets.existingSecret" -}}
{{- end -}}
{{- if not .Values.secrets.existingSecret -}}
{{- range .Values.conferences -}}
{{- if not .password -}}
{{- fail (printf "confgate: conference %s has no password, and there is no secrets.existingSecret" .id) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The YAML file of `gateway serve`. */}}
{{- define "confgate.config" -}}
{{- $file := dict "listen" ":8080" "admin-listen" ":9090" "drain-timeout" (printf "%ds" (int .Values.drainSeconds)) -}}
{{- if .Values.auth.hmac }}{{ $_ := set $file "auth-hmac-secret-file" "/run/secrets/confgate/hmac" }}{{ end -}}
{{- if .Values.sealing.enabled }}{{ $_ := set $file "seal-key-file" "/run/secrets/confgate/seal" }}{{ end -}}
{{- if .Values.provider.caConfigMap }}{{ $_ := set $file "provider-ca-file" "/etc/confgate-ca/ca.crt" }}{{ end -}}
{{- $conferences := list -}}
{{- range .Values.conferences -}}
{{- $conferences = append $conferences (printf "%s=@/run/secrets/confgate/conference-%s" .id .id) -}}
{{- end -}}
{{- with $conferences }}{{ $_ := set $file "conference" . }}{{ end -}}
{{- range $name, $value := .Values.config -}}
{{- /* Whole numbers come as floats, which would be written as 1e+06. */ -}}
{{- if kindIs "float64" $value }}{{ $value = int64 $value }}{{ end -}}
{{- $_ := set $file $name $value -}}
{{- end -}}
{{- toYaml $file -}}
{{- end -}}
