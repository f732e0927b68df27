{{/* Rules of NetworkPolicies. They need none for the kubelet's probes, which are always allowed. */}}

{{/*
Peers: networks. One that is wide enough to contain link-local addresses or a cloud's metadata service goes without them: only a value
that names them reaches them. Arguments: a list of networks.
*/}}
{{- define "fovea.network.blocks" -}}
{{- $v4 := list "100.100.100.200/32" "168.63.129.16/32" "169.254.0.0/16" "192.0.0.192/32" }}
{{- $v6 := list "fd00:ec2::254/128" "fd20:ce::254/128" }}
{{- $without := dict "0.0.0.0/0" $v4 "100.64.0.0/10" (list (first $v4)) "100.100.0.0/16" (list (first $v4)) }}
{{- $without = merge $without (dict "::/0" (append $v6 "fe80::/10") "fc00::/7" $v6 "fd00::/8" $v6) }}
{{- $without = merge $without (dict "fd00:ec2::/48" (list (first $v6)) "fd20:ce::/48" (list (last $v6))) }}
{{- range . }}
- ipBlock: {cidr: {{ ternary (quote .) . (contains ":" .) }}
{{- with get $without . }}, except: [{{ ternary (printf "\"%s\"" (join "\", \"" .)) (join ", " .) (contains ":" (first .)) }}]{{ end }}}
{{- end }}
{{- end }}

{{/* Peers: every address but metadata services; pods, too, which some networks do not count among addresses. */}}
{{- define "fovea.network.anywhere" -}}
{{- include "fovea.network.blocks" (list "0.0.0.0/0" "::/0") }}
- namespaceSelector: {}
{{- end }}

{{/* Peers: public addresses. */}}
{{- define "fovea.network.public" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except: [0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16/32, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16]
- ipBlock:
    cidr: ::/0
    except: ["::/96", fc00::/7, fe80::/10]
{{- end }}

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
    {{- with include "fovea.network.blocks" .cidrs | trim }}
    {{- . | nindent 4 }}
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

{{/*
To the Kubernetes API server, which is not a pod: to the configured networks, or else to those of the Service `kubernetes`, if helm can
ask the cluster, or else to private networks. A policy sees the Service's address or the server's own one, depending on the network.
*/}}
{{- define "fovea.network.kubernetesApi" -}}
{{- $api := .Values.networkPolicy.kubernetesApi }}
{{- $own := include "fovea.network.kubernetesService" . | fromYaml }}
{{- if $own.networks }}
- to:
    {{- include "fovea.network.blocks" $own.services | trim | nindent 4 }}
  {{- include "fovea.network.ports" $own.servicePorts | nindent 2 }}
- to:
    {{- include "fovea.network.blocks" $own.networks | trim | nindent 4 }}
  {{- include "fovea.network.ports" $own.ports | nindent 2 }}
{{- else }}
{{- $private := list "10.0.0.0/8" "100.64.0.0/10" "172.16.0.0/12" "192.168.0.0/16" "fc00::/7" }}
- to:
    {{- include "fovea.network.blocks" (default $private $api.cidrs) | trim | nindent 4 }}
  {{- include "fovea.network.ports" $api.ports | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Cilium's own policy, if the cluster has Cilium: there the networks of a NetworkPolicy match no nodes, and so no API server on a node.
Arguments: root, component.
*/}}
{{- define "fovea.network.cilium" -}}
{{- if .root.Capabilities.APIVersions.Has "cilium.io/v2/CiliumNetworkPolicy" }}
{{- $own := include "fovea.network.kubernetesService" .root | fromYaml }}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
{{ include "fovea.metadata" (merge (dict "name" (include "fovea.componentName" .)) .) }}
spec:
  endpointSelector:
    matchLabels:
      {{- include "fovea.selectorLabels" . | nindent 6 }}
  egress:
    - toEntities: [kube-apiserver]
      toPorts:
        - ports:
            {{- range concat .root.Values.networkPolicy.kubernetesApi.ports ($own.ports | default list) | uniq }}
            - {port: {{ int64 . | quote }}, protocol: TCP}
            {{- end }}
{{- end }}
{{- end }}

{{/* YAML: addresses and ports of the Service `kubernetes`, and the networks and ports behind it. Empty without a cluster, and with `cidrs`. */}}
{{- define "fovea.network.kubernetesService" -}}
{{- if not .Values.networkPolicy.kubernetesApi.cidrs }}
{{- $service := (lookup "v1" "Service" "default" "kubernetes").spec | default dict }}
{{- $services := list }}
{{- range $service.clusterIPs }}
{{- $services = append $services (printf "%s/%s" . (ternary "128" "32" (contains ":" .))) }}
{{- end }}
{{- $servicePorts := list }}
{{- range $service.ports }}
{{- $servicePorts = append $servicePorts (int64 .port) }}
{{- end }}
{{- $networks := list }}
{{- $ports := list }}
{{- range (lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "").items }}
{{- if eq (get (.metadata.labels | default dict) "kubernetes.io/service-name") "kubernetes" }}
{{- range .endpoints }}
{{- range .addresses }}
{{- $networks = append $networks (include "fovea.network.around" .) }}
{{- end }}
{{- end }}
{{- range .ports }}
{{- $ports = append $ports (int64 .port) }}
{{- end }}
{{- end }}
{{- end }}
{{- if $services }}
services: {{ toJson $services }}
servicePorts: {{ toJson $servicePorts }}
networks: {{ $networks | uniq | sortAlpha | toJson }}
ports: {{ $ports | uniq | toJson }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The network of a control plane with this address: its /16, or in IPv6 its /48, since a provider replaces the address at an upgrade by
another of the same network, and no `helm upgrade` tells the policies. An address that is not private stays. Arguments: the address.
*/}}
{{- define "fovea.network.around" -}}
{{- if contains ":" . }}
{{- $groups := splitList ":" (splitList "::" . | first) }}
{{- regexReplaceAll "(:0)+$" (slice $groups 0 (min 3 (len $groups) | int) | join ":") "" }}::/48
{{- else if regexMatch "^(10|192\\.168|172\\.(1[6-9]|2[0-9]|3[01])|100\\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))\\." . }}
{{- slice (splitList "." .) 0 2 | join "." }}.0.0/16
{{- else }}
{{- . }}/32
{{- end }}
{{- end }}

{{/* To the object store; empty if it is reached through the proxy alone. */}}
{{- define "fovea.network.store" -}}
{{- $cidrs := include "fovea.store.cidrs" . | fromJsonArray }}
{{- $inCluster := include "fovea.store.inCluster" . | fromJson }}
{{- if or $cidrs $inCluster.namespace }}
- to:
    {{- with include "fovea.network.blocks" $cidrs | trim }}
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
  {{- include "fovea.network.ports" (include "fovea.store.ports" . | fromJsonArray) | nindent 2 }}
{{- end }}
{{- end }}

{{/* To the cloud's token service, at a public address, if the store's credentials are not in a Secret but come with a service account. */}}
{{- define "fovea.network.identity" -}}
{{- if not (include "fovea.store.secretName" .) }}
- to:
    {{- include "fovea.network.public" . | nindent 4 }}
  {{- include "fovea.network.ports" (list 443) | nindent 2 }}
{{- end }}
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

{{/* To the OpenTelemetry collector, if one is configured: any address but metadata services, at its port. */}}
{{- define "fovea.network.tracing" -}}
{{- with .Values.tracing.endpoint }}
{{- $url := urlParse . }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) }}
- to:
    {{- include "fovea.network.anywhere" . | trim | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ $port }}}
{{- end }}
{{- end }}
