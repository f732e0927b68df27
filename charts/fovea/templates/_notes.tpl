{{/* The API's URL for clients: its first host name, with https if it has TLS. */}}
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
