{{/*
The alerts by name: expression, summary and description, with what to do. Each alert covers one release: scraped series have the
label `namespace`. `increase` misses the first sample of a series, so rare events, which may happen before the first scrape,
are counted by `fovea.happened`, which includes it.
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
    No operator is running
  description: |
    Jobs are accepted, but none runs. Check why its pods do not start or are not scraped:
    kubectl -n {{ .Release.Namespace }} describe deploy,pod -l app.kubernetes.io/component=operator
NoLeader:
  expr: max(fovea_operator_leading{ {{- $ns -}} }) == 0
  summary: |
    No operator is the leader
  description: |
    Jobs are accepted, but none runs. The operators cannot take the Lease {{ $operator }}: the API server does not respond, or
    rejects them. {{ $logs }}{{ $operator }}
OperatorReplicasMissing:
  expr: count(fovea_operator_leading{ {{- $ns -}} }) < {{ .Values.operator.replicas }}
  summary: |
    {{ "{{ $value }} of " }}{{ .Values.operator.replicas }} operators are running
  description: |
    If one more is lost, no job runs until it is replaced. Check why the pods do not run:
    kubectl -n {{ .Release.Namespace }} describe deploy,pod -l app.kubernetes.io/component=operator
ApiDown:
  expr: absent(fovea_api_connections{ {{- $ns -}} })
  summary: |
    No API pod is running
  description: |
    No picture can be uploaded; existing jobs run. Check why its pods do not start or are not scraped:
    kubectl -n {{ .Release.Namespace }} describe deploy,pod -l app.kubernetes.io/component=api
ApiErrors:
  expr: |
    sum(rate(fovea_api_requests_total{ {{- $ns -}} ,status="5xx",route!~"/livez|/readyz|/health|/api/v1/health"}[{{ $window }}]))
    / sum(rate(fovea_api_requests_total{ {{- $ns -}} ,route!~"/livez|/readyz|/health|/api/v1/health"}[{{ $window }}]))
    > {{ $alerts.ApiErrors.threshold }}
  summary: |
    {{ "{{ $value | humanizePercentage }}" }} of requests are answered with 5xx
  description: |
    The responses and the log have the reason: {{ $logs }}{{ $api }}. The object store and the API server have their own alerts.
ApiSlow:
  expr: |
    histogram_quantile(0.99, sum by (le) (rate(fovea_api_request_duration_seconds_bucket{ {{- $ns -}} ,method="GET",route=~"/v1/jobs|/v1/jobs/{id}|/api/v1/status/{id}|/job-status/{id}"}[{{ $window }}])))
    > {{ $alerts.ApiSlow.threshold }}
  summary: |
    One read in a hundred takes longer than {{ "{{ $value | humanizeDuration }}" }}
  description: |
    Fovea's API has too little CPU (api.resources, api.autoscaling), or the Kubernetes API server is slow: compare
    fovea_api_cluster_request_duration_seconds.
QueueOld:
  expr: max by (pool) (fovea_operator_oldest_waiting_seconds{ {{- $ns -}} }) > {{ $alerts.QueueOld.threshold }}
  summary: |
    A job in pool {{ "{{ $labels.pool }}" }} has waited for {{ "{{ $value | humanizeDuration }}" }}
  description: |
    The pool has too few runners for its load, or none. Its status says why there are not more:
    kubectl get runnerpools -A -o wide. Increase replicas or autoscaling.max.
BatchStalled:
  expr: max by (pool) (fovea_operator_batch_progress_age_seconds{ {{- $ns -}} }) > {{ $alerts.BatchStalled.threshold }}
  summary: |
    A batch in pool {{ "{{ $labels.pool }} has had no picture for {{ $value | humanizeDuration }}" }}
  description: |
    fovea_operator_shard_attempts_total has the reasons, and the batch's condition Scheduled its own: kubectl get inferencejobs -A.
    FetchFailed: check the object store. RunnerLost: check the runners' pods. Without attempts, the pool has no runner.
AttemptsFailing:
  expr: |
    sum(rate(fovea_operator_attempts_total{ {{- $ns -}} ,outcome=~"failed|retried|interrupted",reason!~"InvalidPicture|PictureTooLarge|DigestMismatch|PictureNotFound|InvalidParameters|MalformedRequest|Refused"}[{{ $window }}]))
    / sum(rate(fovea_operator_attempts_total{ {{- $ns -}} ,outcome=~"succeeded|failed|retried|interrupted"}[{{ $window }}]))
    > {{ $alerts.AttemptsFailing.threshold }}
  summary: |
    {{ "{{ $value | humanizePercentage }}" }} of attempts fail for reasons other than the picture
  description: |
    fovea_operator_attempts_total has the reasons. FetchFailed, StoreUnavailable, ResultNotStored: check the object store.
    OutOfMemory: use a smaller maxBatchSize or more memory. RunnerLost: check the runners' pods.
RunnersLost:
  expr: |
    sum({{ include "fovea.happened" (dict "window" $window "series" (printf "fovea_operator_attempts_total{%s,reason=~\"RunnerLost|DeviceLost\"}" $ns)) }})
    > {{ $alerts.RunnersLost.threshold }}
  summary: |
    {{ "{{ $value | humanize }}" }} attempts lost their runner
  description: |
    Runners die or are cut off while they work; the jobs are retried. Check whether pods run out of memory or GPUs
    fail: kubectl -n {{ .Release.Namespace }} describe pods -l app.kubernetes.io/name=fovea-runner
PoolWithoutRunners:
  expr: |
    sum by (pool) (fovea_operator_queue_depth{ {{- $ns -}} }) > 0
    unless on (pool) sum by (pool) (fovea_operator_runners{ {{- $ns -}} ,state="up"}) > 0
  summary: |
    {{ "{{ $value }}" }} jobs of pool {{ "{{ $labels.pool }}" }} wait, but no runner answers
  description: |
    The pool's conditions have the reason: kubectl get runnerpools -A, then kubectl describe that pool.
PoolRunnersMissing:
  expr: |
    fovea_operator_pool_replicas_wanted{ {{- $ns -}} }
    > on (pool) sum by (pool) (fovea_operator_runners{ {{- $ns -}} ,state="up"})
  summary: |
    Pool {{ "{{ $labels.pool }}" }} should have {{ "{{ $value }}" }} runners but has fewer
  description: |
    The pool's condition Degraded has the reason, such as no node with a free GPU, an image that cannot be pulled, or a
    model that cannot be downloaded.
RunnersDown:
  expr: sum by (pool) (fovea_operator_runners{ {{- $ns -}} ,state="down"}) > 0
  summary: |
    {{ "{{ $value }}" }} runners of pool {{ "{{ $labels.pool }}" }} do not answer
  description: |
    The operator cannot reach these runners: external ones may be switched off, pods may be blocked by a network policy.
    The operator's log names them: {{ $logs }}{{ $operator }}
ModelNotReady:
  expr: min by (pod, model) (fovea_runner_model_ready{ {{- $ns -}} }) == 0
  summary: |
    Runner {{ "{{ $labels.pod }} does not serve {{ $labels.model }}" }}
  description: |
    The model is still being downloaded or loaded, or this failed. The pool's condition Degraded has the reason:
    kubectl -n {{ .Release.Namespace }} describe runnerpools
ClusterErrors:
  expr: |
    sum(rate(fovea_operator_cluster_requests_total{ {{- $ns -}} ,outcome=~"5xx|none"}[{{ $window }}]) or rate(fovea_api_cluster_requests_total{ {{- $ns -}} ,outcome=~"5xx|none"}[{{ $window }}]))
    / sum(rate(fovea_operator_cluster_requests_total{ {{- $ns -}} }[{{ $window }}]) or rate(fovea_api_cluster_requests_total{ {{- $ns -}} }[{{ $window }}]))
    > {{ $alerts.ClusterErrors.threshold }}
  summary: |
    The Kubernetes API server fails {{ "{{ $value | humanizePercentage }}" }} of requests
  description: |
    Jobs are delayed. Check the API server, and the network policies between it and Fovea.
ApiChecksFailing:
  expr: min by (check) (fovea_api_check_passing{ {{- $ns -}} }) == 0
  summary: |
    A pod of the API fails its check of {{ "{{ $labels.check }}" }}
  description: |
    object-store: uploads are answered with 503, and reads go on. kubernetes, cache: the pod gets no requests until it passes.
    /readyz?verbose of the API has the reason, and so has its log: {{ $logs }}{{ $api }}
WatchesStale:
  expr: |
    max by (pod, resource) (fovea_operator_watch_age_seconds{ {{- $ns -}} } or fovea_api_watch_age_seconds{ {{- $ns -}} })
    > {{ $alerts.WatchesStale.threshold }}
  summary: |
    {{ "{{ $labels.pod }} has not seen {{ $labels.resource }} change for {{ $value | humanizeDuration }}" }}
  description: |
    The API server does not answer this pod's watch, so an operator does not see new jobs, and clients that wait are not answered
    in time. Check the API server, and what is between it and the pod: {{ $logs }}{{ $operator }}
StoreErrors:
  expr: |
    sum(rate(fovea_operator_store_requests_total{ {{- $ns -}} ,outcome=~"5xx|none"}[{{ $window }}]) or rate(fovea_api_store_requests_total{ {{- $ns -}} ,outcome=~"5xx|none"}[{{ $window }}]))
    / sum(rate(fovea_operator_store_requests_total{ {{- $ns -}} }[{{ $window }}]) or rate(fovea_api_store_requests_total{ {{- $ns -}} }[{{ $window }}]))
    > {{ $alerts.StoreErrors.threshold }}
  summary: |
    The object store fails {{ "{{ $value | humanizePercentage }}" }} of requests
  description: |
    Uploads are rejected, and jobs wait. Check {{ include "fovea.store.endpoint" . }}, its disks, and the network in between.
StatusWritesFailing:
  expr: |
    sum(rate(fovea_operator_status_writes_total{ {{- $ns -}} ,outcome=~"failed|gave-up|rejected"}[{{ $window }}]))
    / sum(rate(fovea_operator_status_writes_total{ {{- $ns -}} }[{{ $window }}]))
    > {{ $alerts.StatusWritesFailing.threshold }}
  summary: |
    {{ "{{ $value | humanizePercentage }}" }} of job status writes fail
  description: |
    Results exist but cannot be written. Check the operator's rights (inferencejobs/status), webhooks and the API server:
    {{ $logs }}{{ $operator }}
CallbacksFailing:
  expr: |
    sum(rate(fovea_operator_callback_tries_total{ {{- $ns -}} ,outcome!="delivered"}[{{ $window }}]))
    / sum(rate(fovea_operator_callback_tries_total{ {{- $ns -}} }[{{ $window }}]))
    > {{ $alerts.CallbacksFailing.threshold }}
  summary: |
    {{ "{{ $value | humanizePercentage }}" }} of callback tries are not accepted
  description: |
    Callbacks are retried for {{ int64 .Values.operator.callbacks.windowSeconds }} s. status.callback.lastError of a job has the
    receiver's response. Receivers in private networks need operator.callbacks.allow and networkPolicy.operator.cidrs.
CallbacksGivenUp:
  expr: |
    sum({{ include "fovea.happened" (dict "window" $long "series" (printf "fovea_operator_callback_tries_total{%s,outcome=\"given-up\"}" $ns)) }})
    > 0
  summary: |
    Callbacks were given up
  description: |
    Receivers did not accept them in time. Their jobs have status.callback.delivered false and no nextAttemptTime.
ObjectsSetAside:
  expr: |
    sum by (kind) ({{ include "fovea.happened" (dict "window" $long "series" (printf "fovea_operator_objects_set_aside_total{%s}" $ns)) }})
    > 0
  summary: |
    Objects of kind {{ "{{ $labels.kind }}" }} cannot be read
  description: |
    A newer version created them, or a definition is older than the operator. An Event names each; the operator ignores them.
ClockSkew:
  expr: |
    max by (pod) (abs(fovea_operator_clock_skew_seconds{ {{- $ns -}} })) > {{ $alerts.ClockSkew.threshold }}
  summary: |
    The clock of {{ "{{ $labels.pod }} differs from the API server's by {{ $value | humanizeDuration }}" }}
  description: |
    The operator uses the API server's time, so no job ends or is deleted too early. Other programs on that node do not: repair
    the node's time synchronisation, or the API server's if every operator has the difference.
StoreClockSkew:
  expr: |
    max by (pod) (abs(fovea_operator_store_clock_skew_seconds{ {{- $ns -}} } or fovea_api_store_clock_skew_seconds{ {{- $ns -}} })) > {{ $alerts.StoreClockSkew.threshold }}
  summary: |
    The clock of the object store differs from that of {{ "{{ $labels.pod }} by {{ $value | humanizeDuration }}" }}
  description: |
    URLs are signed with the store's time, so runners and clients can read; beyond a day it refuses them. If every pod has the
    difference, repair the time of the store's machine, else that of the pod's node. An operator's clock is the API server's.
NamespaceFull:
  expr: max by (limit) (fovea_operator_full_namespaces{ {{- $ns -}} }) > {{ $alerts.NamespaceFull.threshold }}
  summary: |
    {{ "{{ $value }}" }} namespaces have too many {{ "{{ $labels.limit }}" }} jobs to start others
  description: |
    Their waiting jobs have the condition Accepted False, and the API answers 429. Reason TooManyFinishedJobs: delete finished jobs,
    give them a ttlSecondsAfterFinished, or raise operator.retention. Reason QuotaExceeded: more jobs are created than runners end;
    raise operator.quota or the annotation fovea.dev/max-unfinished-jobs of the namespace if that is wanted.
JobsDeletedEarly:
  expr: |
    sum({{ include "fovea.happened" (dict "window" $long "series" (printf "fovea_operator_finished_jobs_deleted_total{%s,cause=\"limit\"}" $ns)) }})
    > {{ $alerts.JobsDeletedEarly.threshold }}
  summary: |
    {{ "{{ $value | humanize }}" }} finished jobs were deleted before their time, because there were too many
  description: |
    The API answers for them from records in the bucket; kubectl no longer shows them. Raise operator.retention if that is not
    wanted.
StoreUnreliable:
  expr: max by (fault) (fovea_operator_store_fault{ {{- $ns -}} }) > 0
  summary: |
    The object store cannot be relied on: {{ "{{ $labels.fault }}" }}
  description: |
    lists: single jobs run, batches wait, nothing is swept. writes: what is uploaded may be lost. not-s3: another server answers.
    /readyz?verbose of operator and API and the pools' condition Degraded say what was found: {{ $logs }}{{ $operator }}
SweepsFailing:
  expr: |
    sum({{ include "fovea.happened" (dict "window" $long "series" (printf "fovea_operator_sweeps_total{%s,outcome=\"failed\"}" $ns)) }})
    >= {{ $alerts.SweepsFailing.threshold }}
  summary: |
    Unreferenced objects remain in the bucket
  description: |
    The bucket belongs to another installation, its lists cannot be relied on, or the jobs cannot be listed, so nothing is deleted: {{ $logs }}{{ $operator }}
{{- end }}
