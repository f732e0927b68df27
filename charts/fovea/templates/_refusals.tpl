{{/* What the schema cannot say: values that contradict each other. Every message says what to write. */}}

{{- define "fovea.refusals" -}}
{{- $exposed := or .Values.api.ingress.enabled .Values.api.httpRoute.enabled (ne .Values.api.service.type "ClusterIP") }}
{{- if and (eq .Values.auth "none") $exposed (not .Values.acknowledgeUnauthenticated) }}
{{- fail "auth: none lets everybody in whom an Ingress, an HTTPRoute, a NodePort or a LoadBalancer leads to the api: write auth: kubernetes, or acknowledgeUnauthenticated: true where that is meant" }}
{{- end }}
{{- include "fovea.refusals.store" . }}
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
{{- fail "objectStore.endpoint and minio.enabled are two stores: write one of them" }}
{{- end }}
{{- if or $store.existingSecret $store.caSecret.name }}
{{- fail "objectStore.existingSecret and objectStore.caSecret are of your own store: with minio.enabled leave them empty (minio.existingSecret names keys for MinIO)" }}
{{- end }}
{{- else }}
{{- if not $store.endpoint }}
{{- fail "objectStore.endpoint is missing: write the URL of an S3-compatible store, or minio.enabled: true for a trial" }}
{{- end }}
{{- $cidrs := include "fovea.store.cidrs" . | fromJsonArray }}
{{- if not (or $cidrs $store.inCluster.namespace) }}
{{- fail (printf "objectStore.cidrs is missing: write the addresses of %s, which are all that runners may reach (or objectStore.inCluster, where it runs in this cluster)" $store.endpoint) }}
{{- end }}
{{- end }}
{{- if not $store.bucket }}
{{- fail "objectStore.bucket is missing: write the bucket's name" }}
{{- end }}
{{- if and $store.inCluster.namespace (not $store.inCluster.labels) }}
{{- fail "objectStore.inCluster.labels is missing: write the labels of the store's pods" }}
{{- end }}
{{- end }}

{{- define "fovea.refusals.namespaces" -}}
{{- $watched := .Values.watchNamespace }}
{{- if $watched }}
{{- $compat := .Values.api.compat }}
{{- $named := dict "api.namespace" .Values.api.namespace "api.compat.asyncVision.namespace" $compat.asyncVision.namespace "api.compat.imageAnalysis.namespace" $compat.imageAnalysis.namespace }}
{{- range $path, $namespace := $named }}
{{- if and $namespace (ne $namespace $watched) }}
{{- fail (printf "%s: %s is not watchNamespace, so that nobody would run its jobs: write %s, or leave it empty" $path $namespace $watched) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fovea.refusals.api" -}}
{{- $api := .Values.api }}
{{- if and $api.autoscaling.enabled (not (kindIs "invalid" $api.replicas)) }}
{{- fail "api.replicas and api.autoscaling.enabled contradict each other: leave api.replicas out, and write api.autoscaling.minReplicas" }}
{{- end }}
{{- if and $api.autoscaling.enabled (gt (int $api.autoscaling.minReplicas) (int $api.autoscaling.maxReplicas)) }}
{{- fail "api.autoscaling.minReplicas is greater than maxReplicas" }}
{{- end }}
{{- if and $api.ingress.enabled (not $api.ingress.hosts) }}
{{- fail "api.ingress.hosts is empty: write the names at which the api is reached" }}
{{- end }}
{{- if and $api.httpRoute.enabled (not $api.httpRoute.parentRefs) }}
{{- fail "api.httpRoute.parentRefs is empty: name a Gateway, [{name: ..., namespace: ...}]" }}
{{- end }}
{{- range $api.ingress.tls }}
{{- range .hosts }}
{{- if not (has . $api.ingress.hosts) }}
{{- fail (printf "api.ingress.tls is for %s, which is not among api.ingress.hosts" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $api.service.nodePort (eq $api.service.type "ClusterIP") }}
{{- fail "api.service.nodePort needs api.service.type: NodePort or LoadBalancer" }}
{{- end }}
{{- range $component := list "operator" "api" }}
{{- $account := (get $.Values $component).serviceAccount }}
{{- if not (or $account.create $account.name) }}
{{- fail (printf "%s.serviceAccount.name is missing: write the name of the one that is there, or create: true" $component) }}
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

{{/* What the API server would refuse, but only once everything else is installed. Arguments: root, name, pool. */}}
{{- define "fovea.refusals.pool" -}}
{{- $pool := .pool }}
{{- if $pool.enabled }}
{{- if and $pool.autoscaling (hasKey $pool "replicas") }}
{{- fail (printf "pools.%s: replicas and autoscaling contradict each other: leave one of them out" .name) }}
{{- end }}
{{- if $pool.external }}
{{- range list "replicas" "autoscaling" "template" }}
{{- if hasKey $pool . }}
{{- fail (printf "pools.%s: with external there are no pods: leave %s out" $.name .) }}
{{- end }}
{{- end }}
{{- range $pool.models }}
{{- if .source }}
{{- fail (printf "pools.%s: with external its runners have their models already: leave the source of %s out" $.name .name) }}
{{- end }}
{{- end }}
{{- if not .root.Values.operator.externalHosts }}
{{- fail (printf "operator.externalHosts is empty: write the hosts of pools.%s.external.endpoints, which the operator speaks to no other" .name) }}
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
