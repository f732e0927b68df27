{{/* Rules of NetworkPolicies. They need none for the kubelet's probes, which are always allowed. */}}

{{/* To the cluster's DNS. */}}
{{- define "fovea.network.dns" -}}
{{- with .Values.networkPolicy.dns }}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .namespace }}
      podSelector:
        matchLabels:
          {{- toYaml .labels | nindent 10 }}
    {{- range .cidrs }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}
{{- end }}

{{/* Ports of a rule. Arguments: a list of numbers. */}}
{{- define "fovea.network.ports" -}}
ports:
  {{- range . }}
  - {protocol: TCP, port: {{ int64 . }}}
  {{- end }}
{{- end }}

{{/* To the Kubernetes API server, which is not a pod. */}}
{{- define "fovea.network.kubernetesApi" -}}
{{- with .Values.networkPolicy.kubernetesApi }}
{{- if .cidrs }}
- to:
    {{- range .cidrs }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  {{- include "fovea.network.ports" .ports | nindent 2 }}
{{- else }}
- {{- include "fovea.network.ports" .ports | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* To the object store. */}}
{{- define "fovea.network.store" -}}
{{- $cidrs := include "fovea.store.cidrs" . | fromJsonArray }}
{{- $inCluster := include "fovea.store.inCluster" . | fromJson }}
- to:
    {{- range $cidrs }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
    {{- if $inCluster.namespace }}
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ $inCluster.namespace }}
      podSelector:
        matchLabels:
          {{- toYaml $inCluster.labels | nindent 10 }}
    {{- end }}
  {{- include "fovea.network.ports" (include "fovea.store.ports" . | fromJsonArray) | nindent 2 }}
{{- end }}

{{/* From scrapers. Arguments: root, port. */}}
{{- define "fovea.network.scrapers" -}}
{{- with .root.Values.networkPolicy.scrapers }}
{{- if .namespace }}
- from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .namespace }}
      {{- with .labels }}
      podSelector:
        matchLabels:
          {{- toYaml . | nindent 10 }}
      {{- end }}
  ports:
    - {protocol: TCP, port: {{ $.port }}}
{{- end }}
{{- end }}
{{- end }}

{{/* To the OpenTelemetry collector, if one is configured: any address, at its port. */}}
{{- define "fovea.network.tracing" -}}
{{- with .Values.tracing.endpoint }}
{{- $url := urlParse . }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) }}
- ports:
    - {protocol: TCP, port: {{ $port }}}
{{- end }}
{{- end }}
