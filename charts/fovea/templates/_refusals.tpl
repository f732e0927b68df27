{{/* Checks that the schema cannot express: contradicting or missing values. Every message says what to write. */}}

{{- define "fovea.refusals" -}}
{{- $exposed := or .Values.api.ingress.enabled .Values.api.httpRoute.enabled (ne .Values.api.service.type "ClusterIP") }}
{{- if and (eq .Values.auth "none") $exposed (not .Values.acknowledgeUnauthenticated) }}
{{- fail "auth: none gives everyone who reaches the Ingress, HTTPRoute, NodePort or LoadBalancer access to the API: write auth: kubernetes, or acknowledgeUnauthenticated: true if that is intended" }}
{{- end }}
{{- include "fovea.refusals.store" . }}
{{- include "fovea.refusals.proxy" . }}
{{- include "fovea.refusals.namespaces" . }}
{{- include "fovea.refusals.api" . }}
{{- include "fovea.refusals.operator" . }}
{{- range $name, $pool := .Values.pools }}
{{- include "fovea.refusals.pool" (dict "root" $ "name" $name "pool" $pool) }}
{{- end }}
{{- end }}

{{- define "fovea.refusals.store" -}}
{{- $store := .Values.objectStore }}
{{- if .Values.minio.enabled }}
{{- if $store.endpoint }}
{{- fail "objectStore.endpoint and minio.enabled are two stores: set only one of them" }}
{{- end }}
{{- if or $store.existingSecret $store.caSecret.name }}
{{- fail "objectStore.existingSecret and objectStore.caSecret are for your own store: leave them empty with minio.enabled (minio.existingSecret names the keys for MinIO)" }}
{{- end }}
{{- else }}
{{- if not $store.endpoint }}
{{- fail "objectStore.endpoint is missing: write the URL of an S3-compatible store, or minio.enabled: true for a trial" }}
{{- end }}
{{- $cidrs := include "fovea.store.cidrs" . | fromJsonArray }}
{{- if not (or $cidrs $store.inCluster.namespace (include "fovea.proxy.enabled" .)) }}
{{- fail (printf "objectStore.cidrs is missing: write the networks of %s, since runners can reach nothing else (or write objectStore.inCluster if the store runs in this cluster)" $store.endpoint) }}
{{- end }}
{{- end }}
{{- if not $store.bucket }}
{{- fail "objectStore.bucket is missing: write the bucket's name" }}
{{- end }}
{{- if and $store.inCluster.namespace (not $store.inCluster.labels) }}
{{- fail "objectStore.inCluster.labels is missing: write the labels of the store's pods" }}
{{- end }}
{{- end }}

{{- define "fovea.refusals.proxy" -}}
{{- $proxy := .Values.proxy }}
{{- if and $proxy.existingSecret (or $proxy.httpsProxy $proxy.httpProxy) }}
{{- fail "proxy.existingSecret has the URLs: leave proxy.httpsProxy and proxy.httpProxy empty" }}
{{- end }}
{{- if include "fovea.proxy.enabled" . }}
{{- if not (or (include "fovea.proxy.cidrs" . | fromJsonArray) $proxy.inCluster.namespace) }}
{{- fail "proxy.cidrs is missing: write the networks of the proxy, for the NetworkPolicies (or write proxy.inCluster if it runs in this cluster)" }}
{{- end }}
{{- if not (include "fovea.proxy.ports" . | fromJsonArray) }}
{{- fail "proxy.ports is missing: write the port of the proxy that proxy.existingSecret names, for the NetworkPolicies" }}
{{- end }}
{{- end }}
{{- if and $proxy.inCluster.namespace (not $proxy.inCluster.labels) }}
{{- fail "proxy.inCluster.labels is missing: write the labels of the proxy's pods" }}
{{- end }}
{{- end }}

{{- define "fovea.refusals.namespaces" -}}
{{- $watched := .Values.watchNamespace }}
{{- if $watched }}
{{- $compat := .Values.api.compat }}
{{- $named := dict "api.namespace" .Values.api.namespace "api.compat.asyncVision.namespace" $compat.asyncVision.namespace "api.compat.imageAnalysis.namespace" $compat.imageAnalysis.namespace }}
{{- range $path, $namespace := $named }}
{{- if and $namespace (ne $namespace $watched) }}
{{- fail (printf "%s: %s is not watchNamespace, so its jobs would never run: write %s, or leave it empty" $path $namespace $watched) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fovea.refusals.api" -}}
{{- $api := .Values.api }}
{{- if and $api.autoscaling.enabled (not (kindIs "invalid" $api.replicas)) }}
{{- fail "api.replicas and api.autoscaling.enabled contradict each other: remove api.replicas, and write api.autoscaling.minReplicas" }}
{{- end }}
{{- if and $api.autoscaling.enabled (gt (int $api.autoscaling.minReplicas) (int $api.autoscaling.maxReplicas)) }}
{{- fail "api.autoscaling.minReplicas is greater than maxReplicas" }}
{{- end }}
{{- if and $api.ingress.enabled (not $api.ingress.hosts) }}
{{- fail "api.ingress.hosts is empty: write the host names of the API" }}
{{- end }}
{{- if and $api.httpRoute.enabled (not $api.httpRoute.parentRefs) }}
{{- fail "api.httpRoute.parentRefs is empty: name a Gateway, [{name: ..., namespace: ...}]" }}
{{- end }}
{{- range $api.ingress.tls }}
{{- range .hosts }}
{{- if not (has . $api.ingress.hosts) }}
{{- fail (printf "api.ingress.tls names %s, which is not among api.ingress.hosts" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $api.service.nodePort (eq $api.service.type "ClusterIP") }}
{{- fail "api.service.nodePort needs api.service.type: NodePort or LoadBalancer" }}
{{- end }}
{{- range $component := list "operator" "api" }}
{{- $account := (get $.Values $component).serviceAccount }}
{{- if not (or $account.create $account.name) }}
{{- fail (printf "%s.serviceAccount.name is missing: write the name of an existing service account, or create: true" $component) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fovea.refusals.operator" -}}
{{- with .Values.operator.leaderElection }}
{{- if not (and (lt (int .retryPeriodMs) (int .renewDeadlineMs)) (lt (int .renewDeadlineMs) (int .leaseDurationMs))) }}
{{- fail "operator.leaderElection: retryPeriodMs < renewDeadlineMs < leaseDurationMs must hold" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Checks a pool now, since the API server would reject it only after everything else is installed. Arguments: root, name, pool. */}}
{{- define "fovea.refusals.pool" -}}
{{- $pool := .pool }}
{{- if $pool.enabled }}
{{- if and $pool.autoscaling (not (kindIs "invalid" $pool.replicas)) }}
{{- fail (printf "pools.%s: replicas and autoscaling contradict each other: remove one of them" .name) }}
{{- end }}
{{- if $pool.external }}
{{- range list "replicas" "autoscaling" "template" }}
{{- if hasKey $pool . }}
{{- fail (printf "pools.%s: an external pool has no pods: remove %s" $.name .) }}
{{- end }}
{{- end }}
{{- range $pool.models }}
{{- if .source }}
{{- fail (printf "pools.%s: the runners of an external pool already have their models: remove the source of %s" $.name .name) }}
{{- end }}
{{- end }}
{{- if not .root.Values.operator.externalHosts }}
{{- fail (printf "operator.externalHosts is empty: write the hosts of pools.%s.external.endpoints, since the operator connects to no others" .name) }}
{{- end }}
{{- else }}
{{- range $pool.models }}
{{- if not .source }}
{{- fail (printf "pools.%s: the model %s has no source: write huggingFace, object or volume" $.name .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
