{{/* Parts of pod specs that several components share. */}}

{{/* Scheduling fields of a pod spec, from a component's values. Arguments: root, component, values. */}}
{{- define "fovea.placement" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Topology spread; by default over nodes and zones if possible. Arguments: root, component, values. */}}
{{- define "fovea.spread" -}}
topologySpreadConstraints:
{{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- $arguments := . }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "fovea.selectorLabels" $arguments | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end }}

{{- define "fovea.podSecurityContext" -}}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end }}

{{- define "fovea.containerSecurityContext" -}}
securityContext:
  {{- toYaml .Values.containerSecurityContext | nindent 2 }}
{{- end }}

{{- define "fovea.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/*
Environment of operator and api. What differs between installations is here rather than in flags: a patch of the plain
manifests changes a variable by its name, and a flag by its number. Arguments: root, component, values.
*/}}
{{- define "fovea.env" -}}
{{- $values := .root.Values }}
{{- include "fovea.store.env" .root }}
{{- with include "fovea.proxy.env" .root | trim }}
{{ . }}
{{- end }}
{{- if eq .component "operator" }}
{{- include "fovea.store.runnerEnv" .root | trim | nindent 0 }}
- name: FOVEA_OPERATOR_RUNNER_IMAGE
  value: {{ include "fovea.image" (dict "root" .root "image" $values.runner.image "name" "fovea-runner") | quote }}
- name: FOVEA_OPERATOR_RUNNER_IMAGE_CUDA
  value: {{ include "fovea.image" (dict "root" .root "image" (include "fovea.cudaImage" .root | fromJson) "name" "fovea-runner" "suffix" "-cuda") | quote }}
{{- end }}
{{- with $values.log.filter }}
- name: RUST_LOG
  value: {{ . | quote }}
{{- end }}
{{- with $values.tracing }}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_TRACES_SAMPLER
  value: {{ .sampler | quote }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .samplerArg | quote }}
{{- end }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* One flag per item of a list, or per key and value of a map. Arguments: flag, values. */}}
{{- define "fovea.flags" -}}
{{- $flag := .flag }}
{{- if kindIs "map" .values }}
{{- range $key, $value := .values }}
- {{ printf "--%s=%s=%s" $flag $key $value | quote }}
{{- end }}
{{- else }}
{{- range .values }}
- {{ printf "--%s=%s" $flag . | quote }}
{{- end }}
{{- end }}
{{- end }}
