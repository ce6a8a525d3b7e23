{{- define "readmark.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "readmark.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "readmark.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "readmark.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "readmark.image" -}}
{{- $repository := required "image.repository is not set: build the image with the Dockerfile, push it to your registry, and name it there" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What is secret: the variable, and its name among the values. */}}
{{- define "readmark.secretVariables" -}}
databaseURL: READMARK_DATABASE_URL
migrateURL: READMARK_MIGRATE_URL
replicaURL: READMARK_REPLICA_URL
callbackToken: READMARK_CALLBACK_TOKEN
openimSecret: READMARK_OPENIM_SECRET
{{- end -}}

{{/* The secrets that are given, as JSON: a list of {name, variable, secret, key, value}. */}}
{{- define "readmark.secrets" -}}
{{- $given := list -}}
{{- range $name, $variable := include "readmark.secretVariables" . | fromYaml -}}
{{- $s := index $.Values.secrets $name -}}
{{- if and $s.value $s.existingSecret -}}
{{- fail (printf "secrets.%s has both a value and an existingSecret: give one of them" $name) -}}
{{- end -}}
{{- if or $s.value $s.existingSecret -}}
{{- $secret := default (include "readmark.fullname" $) $s.existingSecret -}}
{{- $given = append $given (dict "name" $name "variable" $variable "secret" $secret "key" $s.key "value" $s.value) -}}
{{- end -}}
{{- end -}}
{{- $given | toJson -}}
{{- end -}}
