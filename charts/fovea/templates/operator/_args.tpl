{{/* The operator's flags. */}}

{{- define "fovea.operator.args" -}}
{{- $values := .Values }}
{{- $operator := $values.operator }}
- --namespace={{ .Release.Namespace }}
{{- with $values.watchNamespace }}
- --watch-namespace={{ . }}
{{- end }}
- --health-listen={{ $values.listenAddress }}:8081
- --log-format={{ $values.log.format }}
- --default-pool={{ $operator.defaultPool }}
{{- include "fovea.flags" (dict "flag" "external-host" "values" $operator.externalHosts) }}
- --lease-name={{ include "fovea.componentName" (dict "root" . "component" "operator") }}
{{- with $operator.leaderElection }}
- --lease-duration-ms={{ int64 .leaseDurationMs }}
- --lease-renew-deadline-ms={{ int64 .renewDeadlineMs }}
- --lease-retry-period-ms={{ int64 .retryPeriodMs }}
{{- end }}
{{- with $operator.callbacks }}
{{- include "fovea.flags" (dict "flag" "callback-allow" "values" .allow) }}
{{- if .caSecret.name }}
- --callback-ca-file=/etc/fovea/callback-ca/{{ .caSecret.key }}
{{- end }}
{{- with .proxy }}
- {{ printf "--callback-proxy=%s" . | quote }}
{{- end }}
- --callback-first-delay-ms={{ int64 .firstDelayMs }}
- --callback-greatest-delay-ms={{ int64 .greatestDelayMs }}
- --callback-window-seconds={{ int64 .windowSeconds }}
{{- end }}
{{- with $operator.retention }}
- --max-finished-jobs={{ int64 .maxFinishedJobs }}
- --max-finished-jobs-per-namespace={{ int64 .maxFinishedJobsPerNamespace }}
- --min-finished-seconds={{ int64 .minFinishedSeconds }}
- --deletions-per-second={{ int64 .deletionsPerSecond }}
{{- end }}
- --max-unfinished-jobs-per-namespace={{ int64 $operator.quota.maxUnfinishedJobsPerNamespace }}
{{- with $operator.holdJobsCreatedBefore }}
- {{ printf "--hold-jobs-created-before=%s" . | quote }}
{{- end }}
{{- with $operator.sweep }}
- --sweep-every-seconds={{ int64 .everySeconds }}
- --sweep-grace-seconds={{ int64 .graceSeconds }}
- --sweep-deletes-per-second={{ int64 .deletesPerSecond }}
- --reuse-retention-seconds={{ int64 .reuseRetentionSeconds }}
{{- end }}
{{- include "fovea.operator.runnerArgs" . | trim | nindent 0 }}
{{- with $operator.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The flags for runner pods and their network policies. */}}
{{- define "fovea.operator.runnerArgs" -}}
{{- $values := .Values }}
{{- $runner := $values.runner }}
- --runner-image-pull-policy={{ $values.image.pullPolicy }}
{{- include "fovea.flags" (dict "flag" "runner-image-pull-secret" "values" $values.image.pullSecrets) }}
- --runner-max-picture-pixels={{ int64 $values.api.limits.maxPixels }}
- --runner-drain-seconds={{ int64 $runner.drainSeconds }}
- --runner-cache-size-limit={{ $runner.cacheSizeLimit }}
- --runner-certificate-days={{ int64 $runner.certificateDays }}
- --runner-overlap-seconds={{ int64 $runner.overlapSeconds }}
- --surge-timeout-seconds={{ int64 $runner.surgeTimeoutSeconds }}
- --scale-down-timeout-seconds={{ int64 $runner.scaleDownTimeoutSeconds }}
- --import-deadline-seconds={{ int64 $runner.importDeadlineSeconds }}
- --import-retry-seconds={{ int64 $runner.importRetrySeconds }}
{{- with $runner.hub.endpoint }}
- {{ printf "--hub-endpoint=%s" . | quote }}
{{- end }}
{{- include "fovea.flags" (dict "flag" "hub-cidr" "values" $runner.hub.cidrs) }}
{{- with $runner.hub.caSecret }}
{{- if .name }}
- --hub-ca-file=/etc/fovea/hub-ca/{{ .key }}
{{- end }}
{{- end }}
{{- with include "fovea.store.inCluster" . | fromJson }}
{{- if .namespace }}
- --store-namespace={{ .namespace }}
{{- include "fovea.flags" (dict "flag" "store-label" "values" .labels) }}
{{- end }}
{{- end }}
{{- with include "fovea.proxy.args" . | trim }}
{{ . }}
{{- end }}
{{- with $values.networkPolicy.dns }}
- --dns-namespace={{ .namespace }}
{{- include "fovea.flags" (dict "flag" "dns-label" "values" .labels) }}
{{- include "fovea.flags" (dict "flag" "dns-cidr" "values" .cidrs) }}
{{- end }}
{{- with $values.networkPolicy.scrapers }}
{{- if .namespace }}
- --scraper-namespace={{ .namespace }}
{{- include "fovea.flags" (dict "flag" "scraper-label" "values" .labels) }}
{{- end }}
{{- end }}
{{- $labels := include "fovea.selectorLabels" (dict "root" . "component" "operator") | fromYaml }}
{{- include "fovea.flags" (dict "flag" "operator-label" "values" $labels) }}
{{- end }}
