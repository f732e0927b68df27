{{/* Names and labels of objects. */}}

{{- define "fovea.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters, so that it fits into a label together with its suffixes. */}}
{{- define "fovea.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "fovea.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "fovea.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The name of a cluster-wide object, different for releases of the same name in two namespaces. */}}
{{- define "fovea.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "fovea.fullname" .) }}
{{- end }}

{{/* Labels that select pods. Arguments: root, component. */}}
{{- define "fovea.selectorLabels" -}}
app.kubernetes.io/name: {{ include "fovea.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of every object. Arguments: root, component. */}}
{{- define "fovea.labels" -}}
{{ include "fovea.selectorLabels" . }}
app.kubernetes.io/part-of: fovea
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* An object's labels and annotations. Arguments: root, component; labels and annotations are added. */}}
{{- define "fovea.about" -}}
labels:
  {{- include "fovea.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Metadata of an object in the release's namespace. Arguments: root, component, name; labels and annotations are added. */}}
{{- define "fovea.metadata" -}}
metadata:
  name: {{ .name }}
  namespace: {{ .namespace | default .root.Release.Namespace }}
  {{- include "fovea.about" . | nindent 2 }}
{{- end }}

{{/* Arguments: root, component. */}}
{{- define "fovea.componentName" -}}
{{- printf "%s-%s" (include "fovea.fullname" .root) .component }}
{{- end }}

{{/* The service account of operator or api. Arguments: root, component. */}}
{{- define "fovea.serviceAccountName" -}}
{{- $account := (get .root.Values .component).serviceAccount }}
{{- if $account.create }}
{{- default (include "fovea.componentName" .) $account.name }}
{{- else }}
{{- $account.name }}
{{- end }}
{{- end }}

{{/* An image. Arguments: root, image (repository, tag, digest), name; suffix is appended to the default tag. */}}
{{- define "fovea.image" -}}
{{- $global := .root.Values.image }}
{{- $repository := .name }}
{{- if .image.repository }}
{{- $repository = .image.repository }}
{{- else if $global.registry }}
{{- $repository = printf "%s/%s" (trimSuffix "/" $global.registry) .name }}
{{- end }}
{{- if .image.digest }}
{{- printf "%s@%s" $repository .image.digest }}
{{- else if .image.tag }}
{{- printf "%s:%s" $repository .image.tag }}
{{- else }}
{{- printf "%s:%s%s" $repository (default .root.Chart.AppVersion $global.tag) (.suffix | default "") }}
{{- end }}
{{- end }}

{{/* JSON: the image of runners with a GPU; by default the other runners' with `-cuda` appended to the tag. */}}
{{- define "fovea.cudaImage" -}}
{{- $plain := .Values.runner.image }}
{{- $cuda := .Values.runner.cudaImage }}
{{- $tag := $cuda.tag }}
{{- if and (not $tag) $plain.tag }}
{{- $tag = printf "%s-cuda" $plain.tag }}
{{- end }}
{{- toJson (dict "repository" (default $plain.repository $cuda.repository) "tag" $tag "digest" $cuda.digest) }}
{{- end }}

{{/* The namespace of requests that name none. */}}
{{- define "fovea.jobsNamespace" -}}
{{- .Values.api.namespace | default .Values.watchNamespace | default "default" }}
{{- end }}

{{/* JSON: the namespaces that the API serves, if known: with `watchNamespace`, or without authentication. */}}
{{- define "fovea.servedNamespaces" -}}
{{- $served := list }}
{{- if .Values.watchNamespace }}
{{- $served = list .Values.watchNamespace }}
{{- else if eq .Values.auth "none" }}
{{- $compat := .Values.api.compat }}
{{- $served = list (include "fovea.jobsNamespace" .) $compat.asyncVision.namespace $compat.imageAnalysis.namespace | compact | uniq }}
{{- end }}
{{- toJson $served }}
{{- end }}
