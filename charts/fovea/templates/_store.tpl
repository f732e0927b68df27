{{/* Access of operator and API to the bucket. */}}

{{- define "fovea.store.endpoint" -}}
{{- if .Values.minio.enabled -}}
http://{{ include "fovea.componentName" (dict "root" . "component" "minio") }}.{{ .Release.Namespace }}.svc:9000
{{- else -}}
{{- .Values.objectStore.endpoint }}
{{- end }}
{{- end }}

{{- define "fovea.store.secretName" -}}
{{- if .Values.minio.enabled }}
{{- .Values.minio.existingSecret | default (include "fovea.componentName" (dict "root" . "component" "minio")) }}
{{- else }}
{{- .Values.objectStore.existingSecret }}
{{- end }}
{{- end }}

{{/* A JSON list of the store's networks; includes the endpoint if it is an address. */}}
{{- define "fovea.store.cidrs" -}}
{{- $cidrs := .Values.objectStore.cidrs }}
{{- $host := (urlParse (include "fovea.store.endpoint" .)).hostname }}
{{- if and (not $cidrs) (not .Values.minio.enabled) (regexMatch "^[0-9]+(\\.[0-9]+){3}$" $host) }}
{{- $cidrs = list (printf "%s/32" $host) }}
{{- end }}
{{- toJson (ternary (list) $cidrs .Values.minio.enabled) }}
{{- end }}

{{/* A JSON list of the store's ports. */}}
{{- define "fovea.store.ports" -}}
{{- if .Values.minio.enabled -}}
[9000]
{{- else if .Values.objectStore.ports -}}
{{- toJson .Values.objectStore.ports }}
{{- else -}}
{{- $endpoint := urlParse .Values.objectStore.endpoint }}
{{- $port := regexFind ":[0-9]+$" $endpoint.host | trimPrefix ":" }}
{{- if $port -}}
[{{ $port }}]
{{- else -}}
[{{ ternary 443 80 (eq $endpoint.scheme "https") }}]
{{- end }}
{{- end }}
{{- end }}

{{/* JSON: the namespace and labels of the store's pods, if it runs in this cluster. */}}
{{- define "fovea.store.inCluster" -}}
{{- if .Values.minio.enabled -}}
{{- $labels := include "fovea.selectorLabels" (dict "root" . "component" "minio") | fromYaml }}
{{- toJson (dict "namespace" .Release.Namespace "labels" $labels) }}
{{- else -}}
{{- toJson .Values.objectStore.inCluster }}
{{- end }}
{{- end }}

{{- define "fovea.store.env" -}}
{{- $store := .Values.objectStore }}
- name: FOVEA_S3_ENDPOINT
  value: {{ include "fovea.store.endpoint" . | quote }}
{{- with $store.publicEndpoint }}
- name: FOVEA_S3_PUBLIC_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: FOVEA_S3_BUCKET
  value: {{ $store.bucket | quote }}
- name: FOVEA_S3_REGION
  value: {{ $store.region | quote }}
- name: FOVEA_S3_PATH_STYLE
  value: {{ $store.pathStyle | quote }}
{{- if kindIs "bool" $store.publicPathStyle }}
- name: FOVEA_S3_PUBLIC_PATH_STYLE
  value: {{ $store.publicPathStyle | quote }}
{{- end }}
{{- if $store.caSecret.name }}
- name: FOVEA_S3_CA_FILE
  value: /etc/fovea/store-ca/{{ $store.caSecret.key }}
{{- end }}
- name: FOVEA_S3_ATTEMPT_TIMEOUT_MS
  value: {{ int64 $store.attemptTimeoutMs | quote }}
- name: FOVEA_S3_MAX_ATTEMPTS
  value: {{ int64 $store.maxAttempts | quote }}
{{- $secret := include "fovea.store.secretName" . }}
{{- if $secret }}
{{- $keys := $store.secretKeys }}
{{- if .Values.minio.enabled }}
{{- $keys = dict "accessKeyId" "accessKeyId" "secretAccessKey" "secretAccessKey" }}
{{- end }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $keys.accessKeyId }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $keys.secretAccessKey }}
{{- end }}
{{- end }}

{{/* The operator's environment for the runners' access to the store. */}}
{{- define "fovea.store.runnerEnv" -}}
{{- with include "fovea.store.cidrs" . | fromJsonArray }}
- name: FOVEA_OPERATOR_STORE_CIDRS
  value: {{ join "," . | quote }}
{{- end }}
{{- $ports := list }}
{{- range include "fovea.store.ports" . | fromJsonArray }}
{{- $ports = append $ports (int64 .) }}
{{- end }}
- name: FOVEA_OPERATOR_STORE_PORTS
  value: {{ join "," $ports | quote }}
{{- end }}

{{- define "fovea.store.volumeMounts" -}}
{{- if .Values.objectStore.caSecret.name }}
- name: store-ca
  mountPath: /etc/fovea/store-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "fovea.store.volumes" -}}
{{- with .Values.objectStore.caSecret }}
{{- if .name }}
- name: store-ca
  secret:
    secretName: {{ .name }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: {{ .key }}
{{- end }}
{{- end }}
{{- end }}
