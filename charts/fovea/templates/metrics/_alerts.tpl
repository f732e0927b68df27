{{/*
The alerts by name: what holds when something is wrong, what that means, and what to do. Each is about one release: what
is scraped has the label `namespace`. `increase` does not see the first sample of a series: what is rare, and may happen
before anything is scraped, is counted by `fovea.happened`, which does.
*/}}
{{- define "fovea.happened" -}}
({{ .series }} unless {{ .series }} offset {{ .window }}) or increase({{ .series }}[{{ .window }}])
{{- end }}
{{- define "fovea.alerts" -}}
{{- $ns := printf "namespace=%q" .Release.Namespace }}
{{- $rule := .Values.metrics.prometheusRule }}
{{- $window := $rule.window }}
{{- $long := $rule.longWindow }}
{{- $alerts := $rule.alerts }}
{{- $api := include "fovea.componentName" (dict "root" . "component" "api") }}
{{- $operator := include "fovea.componentName" (dict "root" . "component" "operator") }}
{{- $logs := printf "kubectl -n %s logs deploy/" .Release.Namespace }}
OperatorDown:
  expr: absent(fovea_operator_leading{ {{- $ns -}} })
  summary: |
    No operator is there
  description: |
    Jobs are taken, and none is run. See why its pods do not start or are not scraped:
    kubectl -n {{ .Release.Namespace }} describe deploy,pod -l app.kubernetes.io/component=operator
NoLeader:
  expr: max(fovea_operator_leading{ {{- $ns -}} }) == 0
  summary: |
    No operator leads
  description: |
    Jobs are taken, and none is run. The operators cannot take the Lease {{ $operator }}: the API server does not answer them,
    or refuses. {{ $logs }}{{ $operator }}
OperatorReplicasMissing:
  expr: count(fovea_operator_leading{ {{- $ns -}} }) < {{ .Values.operator.replicas }}
  summary: |
    {{ "{{ $value }} of " }}{{ .Values.operator.replicas }} operators are there
  description: |
    The loss of one more is a gap. See why its pods do not run:
    kubectl -n {{ .Release.Namespace }} describe deploy,pod -l app.kubernetes.io/component=operator
ApiDown:
  expr: absent(fovea_api_connections{ {{- $ns -}} })
  summary: |
    No api is there
  description: |
    No picture can be uploaded; jobs that are there are run. See why its pods do not start or are not scraped:
    kubectl -n {{ .Release.Namespace }} describe deploy,pod -l app.kubernetes.io/component=api
ApiErrors:
  expr: |
    sum(rate(fovea_api_requests_total{ {{- $ns -}} ,status="5xx",route!~"/livez|/readyz|/health|/api/v1/health"}[{{ $window }}]))
    / sum(rate(fovea_api_requests_total{ {{- $ns -}} ,route!~"/livez|/readyz|/health|/api/v1/health"}[{{ $window }}]))
    > {{ $alerts.ApiErrors.threshold }}
  summary: |
    {{ "{{ $value | humanizePercentage }}" }} of requests are answered by 5xx
  description: |
    The answers say why, as does the log: {{ $logs }}{{ $api }}. The object store and the API server have alerts of their own.
ApiSlow:
  expr: |
    histogram_quantile(0.99, sum by (le) (rate(fovea_api_request_duration_seconds_bucket{ {{- $ns -}} ,method="GET",route=~"/v1/jobs|/v1/jobs/{id}|/api/v1/status/{id}|/job-status/{id}"}[{{ $window }}])))
    > {{ $alerts.ApiSlow.threshold }}
  summary: |
    One read in a hundred takes over {{ "{{ $value | humanizeDuration }}" }}
  description: |
    The api has too little CPU (api.resources, api.autoscaling), or the API server is slow: compare
    fovea_api_cluster_request_duration_seconds.
QueueOld:
  expr: max by (pool) (fovea_operator_oldest_waiting_seconds{ {{- $ns -}} }) > {{ $alerts.QueueOld.threshold }}
  summary: |
    A job of pool {{ "{{ $labels.pool }}" }} has waited for {{ "{{ $value | humanizeDuration }}" }}
  description: |
    The pool has too few runners for what it is asked, or none. Its status says why there are no more:
    kubectl get runnerpools -A -o wide. Give it more replicas, or a greater autoscaling.max.
AttemptsFailing:
  expr: |
    sum(rate(fovea_operator_attempts_total{ {{- $ns -}} ,outcome=~"failed|retried|interrupted",reason!~"InvalidPicture|PictureTooLarge|DigestMismatch|PictureNotFound|InvalidParameters|MalformedRequest"}[{{ $window }}]))
    / sum(rate(fovea_operator_attempts_total{ {{- $ns -}} ,outcome=~"succeeded|failed|retried|interrupted"}[{{ $window }}]))
    > {{ $alerts.AttemptsFailing.threshold }}
  summary: |
    {{ "{{ $value | humanizePercentage }}" }} of attempts fail, and not for their pictures
  description: |
    fovea_operator_attempts_total says for which reasons: FetchFailed is the store's, OutOfMemory asks for a smaller
    maxBatchSize or more memory, RunnerLost for a look at the runners' pods.
RunnersLost:
  expr: |
    sum({{ include "fovea.happened" (dict "window" $window "series" (printf "fovea_operator_attempts_total{%s,reason=~\"RunnerLost|DeviceLost\"}" $ns)) }})
    > {{ $alerts.RunnersLost.threshold }}
  summary: |
    Runners are lost under {{ "{{ $value | humanize }}" }} attempts
  description: |
    Runners end or are cut off while they work; the jobs are tried again. See whether pods are killed for memory or GPUs
    fail: kubectl -n {{ .Release.Namespace }} describe pods -l app.kubernetes.io/name=fovea-runner
PoolWithoutRunners:
  expr: |
    sum by (pool) (fovea_operator_queue_depth{ {{- $ns -}} }) > 0
    unless on (pool) sum by (pool) (fovea_operator_runners{ {{- $ns -}} ,state="up"}) > 0
  summary: |
    {{ "{{ $value }}" }} jobs of pool {{ "{{ $labels.pool }}" }} wait, and no runner answers
  description: |
    The pool's conditions say why: kubectl get runnerpools -A, then kubectl describe the one.
PoolRunnersMissing:
  expr: |
    fovea_operator_pool_replicas_wanted{ {{- $ns -}} }
    > on (pool) sum by (pool) (fovea_operator_runners{ {{- $ns -}} ,state="up"})
  summary: |
    Pool {{ "{{ $labels.pool }}" }} is to have {{ "{{ $value }}" }} runners, and has fewer
  description: |
    The pool's condition Degraded says why: no node with a free GPU, an image that cannot be pulled, a model that
    cannot be had.
RunnersDown:
  expr: sum by (pool) (fovea_operator_runners{ {{- $ns -}} ,state="down"}) > 0
  summary: |
    {{ "{{ $value }}" }} runners of pool {{ "{{ $labels.pool }}" }} do not answer
  description: |
    They are listed as the pool's, and do not answer the operator: external ones may be switched off, pods be cut off by
    the network. The operator's log names them: {{ $logs }}{{ $operator }}
ModelNotReady:
  expr: min by (pod, model) (fovea_runner_model_ready{ {{- $ns -}} }) == 0
  summary: |
    Runner {{ "{{ $labels.pod }} does not serve {{ $labels.model }}" }}
  description: |
    The model is being fetched or loaded, or cannot be. The pool's condition Degraded says why:
    kubectl -n {{ .Release.Namespace }} describe runnerpools
ClusterErrors:
  expr: |
    sum(rate(fovea_operator_cluster_requests_total{ {{- $ns -}} ,outcome=~"5xx|none"}[{{ $window }}]) or rate(fovea_api_cluster_requests_total{ {{- $ns -}} ,outcome=~"5xx|none"}[{{ $window }}]))
    / sum(rate(fovea_operator_cluster_requests_total{ {{- $ns -}} }[{{ $window }}]) or rate(fovea_api_cluster_requests_total{ {{- $ns -}} }[{{ $window }}]))
    > {{ $alerts.ClusterErrors.threshold }}
  summary: |
    The Kubernetes API server fails {{ "{{ $value | humanizePercentage }}" }} of requests
  description: |
    Work goes on where it can, and is late. Look at the API server, and at the network policies between it and Fovea.
StoreErrors:
  expr: |
    sum(rate(fovea_operator_store_requests_total{ {{- $ns -}} ,outcome=~"5xx|none"}[{{ $window }}]) or rate(fovea_api_store_requests_total{ {{- $ns -}} ,outcome=~"5xx|none"}[{{ $window }}]))
    / sum(rate(fovea_operator_store_requests_total{ {{- $ns -}} }[{{ $window }}]) or rate(fovea_api_store_requests_total{ {{- $ns -}} }[{{ $window }}]))
    > {{ $alerts.StoreErrors.threshold }}
  summary: |
    The object store fails {{ "{{ $value | humanizePercentage }}" }} of requests
  description: |
    Uploads are refused, and jobs wait. Look at {{ include "fovea.store.endpoint" . }}, its disks, and the network on the way.
StatusWritesFailing:
  expr: |
    sum(rate(fovea_operator_status_writes_total{ {{- $ns -}} ,outcome=~"failed|gave-up|rejected"}[{{ $window }}]))
    / sum(rate(fovea_operator_status_writes_total{ {{- $ns -}} }[{{ $window }}]))
    > {{ $alerts.StatusWritesFailing.threshold }}
  summary: |
    {{ "{{ $value | humanizePercentage }}" }} of writes of jobs' statuses fail
  description: |
    Results are there and cannot be told. Rights (inferencejobs/status), a webhook or the API server is in the way:
    {{ $logs }}{{ $operator }}
CallbacksFailing:
  expr: |
    sum(rate(fovea_operator_callback_tries_total{ {{- $ns -}} ,outcome!="delivered"}[{{ $window }}]))
    / sum(rate(fovea_operator_callback_tries_total{ {{- $ns -}} }[{{ $window }}]))
    > {{ $alerts.CallbacksFailing.threshold }}
  summary: |
    {{ "{{ $value | humanizePercentage }}" }} of callbacks are not taken
  description: |
    They are tried again for {{ int64 .Values.operator.callbacks.windowSeconds }} s. status.callback.lastError of the jobs says what the
    receivers answered; receivers in private networks need operator.callbacks.allow and networkPolicy.operator.cidrs.
CallbacksGivenUp:
  expr: |
    sum({{ include "fovea.happened" (dict "window" $long "series" (printf "fovea_operator_callback_tries_total{%s,outcome=\"given-up\"}" $ns)) }})
    > 0
  summary: |
    Callbacks were given up
  description: |
    Receivers did not take them in time. Their jobs have status.callback.delivered false and no nextAttemptTime.
ObjectsSetAside:
  expr: |
    sum by (kind) ({{ include "fovea.happened" (dict "window" $long "series" (printf "fovea_operator_objects_set_aside_total{%s}" $ns)) }})
    > 0
  summary: |
    Objects of kind {{ "{{ $labels.kind }}" }} cannot be read
  description: |
    A newer version has made them, or a definition is older than the operator: an Event names each. They are left alone.
SweepsFailing:
  expr: |
    sum({{ include "fovea.happened" (dict "window" $long "series" (printf "fovea_operator_sweeps_total{%s,outcome=\"failed\"}" $ns)) }})
    >= {{ $alerts.SweepsFailing.threshold }}
  summary: |
    What no job refers to stays in the bucket
  description: |
    The bucket or the jobs cannot be listed whole, so nothing is deleted: {{ $logs }}{{ $operator }}
{{- end }}
