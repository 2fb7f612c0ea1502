{{/* What everything is called: the release's name, which should be manta-operator. */}}
{{- define "manta-operator.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "manta-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "manta-operator.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{- define "manta-operator.image" -}}
{{- $tag := .Values.image.tag | default (printf "%s-py%s" .Chart.AppVersion .Values.image.python) -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end }}

{{- define "manta-operator.leaseNamespace" -}}
{{- .Values.leaseNamespace | default .Release.Namespace -}}
{{- end }}

{{/* By these a Deployment finds its pods: they never change. */}}
{{- define "manta-operator.selector" -}}
app.kubernetes.io/name: manta-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of pods: without the chart's version, as another chart alone replaces none. */}}
{{- define "manta-operator.podLabels" -}}
{{ include "manta-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: manta
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "manta-operator.labels" -}}
{{ include "manta-operator.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
