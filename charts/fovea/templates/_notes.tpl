{{/* Where the api is reached: the first of its names, by https where there is TLS. */}}
{{- define "fovea.url" -}}
{{- $api := .Values.api }}
{{- if $api.ingress.enabled -}}
{{ ternary "https" "http" (not (empty $api.ingress.tls)) }}://{{ first $api.ingress.hosts }}
{{- else if and $api.httpRoute.enabled $api.httpRoute.hostnames (not (hasPrefix "*" (first $api.httpRoute.hostnames))) -}}
https://{{ first $api.httpRoute.hostnames }}
{{- else -}}
http://127.0.0.1:8000
{{- end }}
{{- end }}
