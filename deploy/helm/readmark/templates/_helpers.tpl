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

{{/* The CronJob's name: Kubernetes takes 52 characters at most. */}}
{{- define "readmark.partitionsName" -}}
{{- include "readmark.fullname" . | trunc 41 | trimSuffix "-" -}}-partitions
{{- end -}}

{{/* Of the CronJob's pods: services, budget and policy select others. */}}
{{- define "readmark.partitionsLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}-partitions
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

{{/* The names of both Services in the cluster's DNS, with commas between them. */}}
{{- define "readmark.serviceHosts" -}}
{{- $hosts := list -}}
{{- range $suffix := list "" "-headless" -}}
{{- $name := print (include "readmark.fullname" $) $suffix -}}
{{- $inNamespace := print $name "." $.Release.Namespace -}}
{{- $hosts = concat $hosts (list $name $inNamespace (print $inNamespace ".svc") (print $inNamespace ".svc.cluster.local")) -}}
{{- end -}}
{{- join "," $hosts -}}
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

{{/*
How long serve takes to stop after its delay, and some more: 15 s for requests under way, 10 s to
drain the spool, 3 s for the last traces, and a reserve of 10 s.
*/}}
{{- define "readmark.stopSeconds" -}}38{{- end -}}

{{/* What every pod is: any user but root, nothing of the cluster's. */}}
{{- define "readmark.podSpec" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with get .Values "fsGroup" }}
  fsGroup: {{ . }}
  # Files of the spool that another user has written are readable, too.
  fsGroupChangePolicy: Always
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What every container is. */}}
{{- define "readmark.containerSpec" -}}
image: {{ include "readmark.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Of a list of secrets: the variables that name their files. */}}
{{- define "readmark.secretEnv" -}}
{{- range . }}
- name: {{ .variable }}_FILE
  value: /etc/readmark/secrets/{{ .name }}
{{- end }}
{{- end -}}

{{/* Where secrets and the CA's certificate are mounted. */}}
{{- define "readmark.secretMounts" -}}
- name: secrets
  mountPath: /etc/readmark/secrets
  readOnly: true
{{- if .Values.caCertificate.existingSecret }}
- name: ca
  mountPath: /etc/readmark/ca
  readOnly: true
{{- end }}
{{- end -}}

{{/* The volumes of these mounts; given the chart's scope and the list of secrets. */}}
{{- define "readmark.secretVolumes" -}}
# A directory, not single files: Kubernetes updates what is in it when a Secret changes.
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range .secrets }}
      - secret:
          name: {{ .secret }}
          items:
            - key: {{ .key }}
              path: {{ .name }}
      {{- end }}
{{- with .scope.Values.caCertificate }}
{{- if .existingSecret }}
- name: ca
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ .existingSecret }}
          items:
            - key: {{ .key }}
              path: ca.crt
{{- end }}
{{- end }}
{{- end -}}
