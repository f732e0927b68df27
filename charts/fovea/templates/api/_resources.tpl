{{/* Memory and disk of the API, which follow from `api.limits`. */}}

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
