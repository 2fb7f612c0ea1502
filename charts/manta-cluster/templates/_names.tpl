{{- define "manta-cluster.name" -}}
{{- $name := .Values.name | default .Release.Name -}}
{{- if gt (len $name) 50 -}}
{{- fail (printf "the cluster's name may have 50 characters, and %s has %d: set `name`, or call the release otherwise" $name (len $name)) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{- define "manta-cluster.image" -}}
{{- $tag := .Values.image.tag | default (printf "%s-py%s" .Chart.AppVersion .Values.image.python) -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end }}

{{- define "manta-cluster.labels" -}}
app.kubernetes.io/name: manta
app.kubernetes.io/instance: {{ include "manta-cluster.name" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: manta
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
A template of pods with the image's pull policy for containers of the cluster's own; what the template itself says stays.
Takes a dict: template, policy, containers (their names).
*/}}
{{- define "manta-cluster.template" -}}
{{- $template := deepCopy (.template | default dict) }}
{{- if .policy }}
{{- $policy := .policy }}
{{- $ours := .containers }}
{{- $spec := get $template "spec" | default dict }}
{{- $containers := list }}
{{- $said := list }}
{{- range (get $spec "containers" | default list) }}
{{- $said = append $said .name }}
{{- if and (has .name $ours) (not (hasKey . "imagePullPolicy")) }}
{{- $containers = append $containers (merge (dict "imagePullPolicy" $policy) .) }}
{{- else }}
{{- $containers = append $containers . }}
{{- end }}
{{- end }}
{{- range $ours }}
{{- if not (has . $said) }}
{{- $containers = append $containers (dict "name" . "imagePullPolicy" $policy) }}
{{- end }}
{{- end }}
{{- $template = set $template "spec" (set $spec "containers" $containers) }}
{{- end }}
{{- toYaml $template }}
{{- end }}
