{{/* Number of the API's pods, and their memory and disk, which follow from `api.limits`. */}}

{{/*
Number of pods where the values have none: that of the Deployment, which somebody may have scaled, or 2. Another number would conflict with
them: helm 4 applies as the API server's `kubectl apply --server-side` does.
*/}}
{{- define "fovea.api.replicas" -}}
{{- $name := include "fovea.componentName" (dict "root" . "component" "api") }}
{{- $spec := (lookup "apps/v1" "Deployment" .Release.Namespace $name).spec | default dict }}
{{- hasKey $spec "replicas" | ternary $spec.replicas 2 }}
{{- end }}

{{/* The container's resources, with a memory limit unless the values set one. */}}
{{- define "fovea.api.resources" -}}
{{- $resources := deepCopy .Values.api.resources }}
{{- $limits := $resources.limits | default dict }}
{{- if not $limits.memory }}
{{- $limits = merge (dict "memory" (include "fovea.api.memoryLimit" .)) $limits }}
{{- end }}
{{- toYaml (merge (dict "limits" $limits) $resources) }}
{{- end }}

{{/*
The memory limit: 256 MiB for the process itself (reads and caches of jobs are bounded to 64 MiB each), the budget of
requests, 16 KiB for each connection and 16 KiB for each wait.
*/}}
{{- define "fovea.api.memoryLimit" -}}
{{- $limits := .Values.api.limits }}
{{- $connections := add (int64 $limits.maxConnections) (int64 $limits.maxWaiters) }}
{{- $bytes := add (mul 256 1048576) (int64 $limits.memoryBytes) (mul 16384 $connections) }}
{{- printf "%dMi" (div (add $bytes 1048575) 1048576) }}
{{- end }}

{{/* Size of the folder for temporary files: four ZIPs, and 64 MiB. */}}
{{- define "fovea.api.tmpSizeLimit" -}}
{{- printf "%dMi" (add 64 (div (add (mul 4 (int64 .Values.api.limits.maxArchiveBytes)) 1048575) 1048576)) }}
{{- end }}
