{{/* The API's flags. */}}

{{- define "fovea.api.args" -}}
{{- $values := .Values }}
{{- $api := $values.api }}
- --listen={{ $values.listenAddress }}:8000
- --metrics-listen={{ $values.listenAddress }}:9090
- --namespace={{ include "fovea.jobsNamespace" . }}
{{- with $values.watchNamespace }}
- --watch-namespace={{ . }}
{{- end }}
- --pool-namespaces={{ .Release.Namespace }}
- --log-format={{ $values.log.format }}
- --auth={{ $values.auth }}
{{- include "fovea.flags" (dict "flag" "auth-audiences" "values" $api.audiences) }}
{{- include "fovea.flags" (dict "flag" "cors-origins" "values" $api.corsOrigins) }}
{{- include "fovea.flags" (dict "flag" "trusted-proxies" "values" $api.trustedProxies) }}
- --forwarded-header={{ $api.forwardedHeader }}
{{- with $api.rateLimits }}
{{- if not (kindIs "invalid" .writes) }}
- --rate-limit-writes={{ int64 .writes }}
{{- end }}
{{- if not (kindIs "invalid" .reads) }}
- --rate-limit-reads={{ int64 .reads }}
{{- end }}
- --rate-limit-token-reviews={{ int64 .tokenReviews }}
{{- end }}
{{- with $api.limits }}
- --max-upload-bytes={{ int64 .maxUploadBytes }}
- --max-archive-bytes={{ int64 .maxArchiveBytes }}
- --memory-bytes={{ int64 .memoryBytes }}
- --upload-memory-bytes={{ int64 .uploadMemoryBytes }}
- --max-pixels={{ int64 .maxPixels }}
- --max-writes={{ int64 .maxWrites }}
- --max-connections={{ int64 .maxConnections }}
- --max-waiters={{ int64 .maxWaiters }}
- --max-downloads={{ int64 .maxDownloads }}
- --min-bytes-per-second={{ int64 .minBytesPerSecond }}
{{- end }}
{{- with $api.timeouts }}
- --header-timeout-ms={{ int64 .headerMs }}
- --body-idle-timeout-ms={{ int64 .bodyIdleMs }}
- --body-timeout-ms={{ int64 .bodyMs }}
- --archive-timeout-ms={{ int64 .archiveMs }}
- --min-rate-window-ms={{ int64 .minRateWindowMs }}
- --kube-timeout-ms={{ int64 .kubeMs }}
- --settle-timeout-ms={{ int64 .settleMs }}
- --drain-timeout-ms={{ int64 .drainMs }}
{{- end }}
{{- include "fovea.api.compatArgs" $api.compat | trim | nindent 0 }}
{{- with $api.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The flags for the two replaced services; a disabled service gets only its switch. */}}
{{- define "fovea.api.compatArgs" -}}
{{- with .asyncVision }}
- --compat-async-vision={{ .enabled }}
{{- if .enabled }}
{{- with .namespace }}
- --compat-async-vision-namespace={{ . }}
{{- end }}
- --compat-async-vision-anonymous={{ .anonymous }}
- --compat-async-vision-max-bytes={{ int64 .maxBytes }}
- --compat-async-vision-retention-seconds={{ int64 .retentionSeconds }}
- --compat-async-vision-unavailable-status={{ int64 .unavailableStatus }}
{{- with .captioningModel }}
- --compat-captioning-model={{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- with .imageAnalysis }}
- --compat-image-analysis={{ .enabled }}
{{- if .enabled }}
{{- with .namespace }}
- --compat-image-analysis-namespace={{ . }}
{{- end }}
- --compat-image-analysis-anonymous={{ .anonymous }}
- --compat-image-analysis-max-bytes={{ int64 .maxBytes }}
- --compat-image-analysis-retention-seconds={{ int64 .retentionSeconds }}
- --compat-image-analysis-whole-pixels={{ .wholePixels }}
{{- with .classificationModel }}
- --compat-classification-model={{ . }}
{{- end }}
{{- with .objectDetectionModel }}
- --compat-object-detection-model={{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
