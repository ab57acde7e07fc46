{{/* Labels of every object. */}}
{{- define "csictl.labels" -}}
{{ include "csictl.names" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels that never change during the life of a release. */}}
{{- define "csictl.names" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What names of objects begin with: the release's name, which holds the chart's. */}}
{{- define "csictl.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* The one subject of all bindings. */}}
{{- define "csictl.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "csictl.fullname" . }}-node
    namespace: {{ .Release.Namespace }}
{{- end }}

{{/* An environment variable from a field of the pod: (list "NAME" "field.path"). */}}
{{- define "csictl.field" -}}
- name: {{ index . 0 }}
  valueFrom:
    fieldRef:
      fieldPath: {{ index . 1 }}
{{- end }}

{{/* What all sidecars have in common: (list . sidecar). */}}
{{- define "csictl.sidecar" -}}
{{- $root := index . 0 -}}
{{- $sidecar := index . 1 -}}
image: {{ $sidecar.image }}
imagePullPolicy: {{ $root.Values.sidecars.pullPolicy }}
securityContext:
  {{- toYaml $root.Values.sidecars.securityContext | nindent 2 }}
resources:
  {{- toYaml $sidecar.resources | nindent 2 }}
{{- end }}
