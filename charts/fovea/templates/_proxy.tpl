{{/* The HTTP proxy on the way out of the cluster. */}}

{{/* Not empty if there is one. */}}
{{- define "fovea.proxy.enabled" -}}
{{- with .Values.proxy }}{{ or .httpsProxy .httpProxy .existingSecret }}{{ end }}
{{- end }}

{{/* The environment of operator and API. The operator hands it on to runners and imports. */}}
{{- define "fovea.proxy.env" -}}
{{- $proxy := .Values.proxy }}
{{- if include "fovea.proxy.enabled" . }}
{{- range $name, $key := dict "HTTPS_PROXY" "httpsProxy" "HTTP_PROXY" "httpProxy" }}
{{- if $proxy.existingSecret }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $proxy.existingSecret }}
      key: {{ $key }}
      optional: true
{{- else if get $proxy $key }}
- name: {{ $name }}
  value: {{ get $proxy $key | quote }}
{{- end }}
{{- end }}
- name: NO_PROXY
  value: {{ join "," $proxy.noProxy | quote }}
{{- end }}
{{- end }}

{{/* A JSON list of the proxy's networks; includes its URLs' hosts if they are addresses. */}}
{{- define "fovea.proxy.cidrs" -}}
{{- $cidrs := .Values.proxy.cidrs }}
{{- if not $cidrs }}
{{- range compact (list .Values.proxy.httpsProxy .Values.proxy.httpProxy) }}
{{- $host := (urlParse .).hostname }}
{{- if regexMatch "^[0-9]+(\\.[0-9]+){3}$" $host }}
{{- $cidrs = append $cidrs (printf "%s/32" $host) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson (uniq $cidrs) }}
{{- end }}

{{/* A JSON list of the proxy's ports. */}}
{{- define "fovea.proxy.ports" -}}
{{- $ports := .Values.proxy.ports }}
{{- if not $ports }}
{{- range compact (list .Values.proxy.httpsProxy .Values.proxy.httpProxy) }}
{{- $url := urlParse . }}
{{- $ports = append $ports (regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) | int64) }}
{{- end }}
{{- end }}
{{- toJson (uniq $ports) }}
{{- end }}

{{/* The operator's flags for the policies of runners and imports. */}}
{{- define "fovea.proxy.args" -}}
{{- if include "fovea.proxy.enabled" . }}
{{- include "fovea.flags" (dict "flag" "proxy-cidr" "values" (include "fovea.proxy.cidrs" . | fromJsonArray)) }}
{{- with .Values.proxy.inCluster }}
{{- if .namespace }}
- --proxy-namespace={{ .namespace }}
{{- include "fovea.flags" (dict "flag" "proxy-label" "values" .labels) }}
{{- end }}
{{- end }}
{{- range include "fovea.proxy.ports" . | fromJsonArray }}
- --proxy-port={{ int64 . }}
{{- end }}
{{- end }}
{{- end }}

{{/* To the proxy. */}}
{{- define "fovea.network.proxy" -}}
{{- if include "fovea.proxy.enabled" . }}
{{- $inCluster := .Values.proxy.inCluster }}
- to:
    {{- with include "fovea.network.blocks" (include "fovea.proxy.cidrs" . | fromJsonArray) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if $inCluster.namespace }}
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ $inCluster.namespace }}
      podSelector:
        matchLabels:
          {{- toYaml $inCluster.labels | nindent 10 }}
    {{- end }}
  {{- include "fovea.network.ports" (include "fovea.proxy.ports" . | fromJsonArray) | nindent 2 }}
{{- end }}
{{- end }}
