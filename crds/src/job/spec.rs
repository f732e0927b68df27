//! `spec` of an `InferenceJob`.

use super::{InferenceJobStatus, Input, Output, Parameters, Task, rules};
use crate::{
    bounds::{
        MAX_ATTEMPT_SECONDS, MAX_LABEL_LENGTH, MAX_NAME_LENGTH, MAX_PARALLELISM, MAX_PERMILLE,
        MAX_PRIORITY, MAX_RETRIES, MAX_RETRY_DELAY_SECONDS, MAX_SPAN_SECONDS, MAX_URL_LENGTH,
    },
    schema,
    serde_default::is_default,
};
use kube::{CustomResource, KubeSchema};
use schemars::Schema;
use serde::{Deserialize, Serialize};

/// Desired inference on one picture, or on a batch of pictures. Immutable except for suspend, cancel,
/// priority, parallelism and ttlSecondsAfterFinished.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fovea.dev",
    version = "v1alpha1",
    kind = "InferenceJob",
    plural = "inferencejobs",
    shortname = "ij",
    category = "fovea",
    namespaced,
    doc = "InferenceJob runs one task on one picture and holds the result in its status, or on a batch of pictures and writes the results to the bucket.",
    status = "InferenceJobStatus",
    derive = "PartialEq",
    validation = rules::immutable(),
    selectable = ".spec.poolRef.name",
    selectable = ".status.phase",
    selectable = ".spec.input.upload.sha256",
    printcolumn(name = "Task", type_ = "string", json_path = ".spec.task"),
    printcolumn(
        name = "Model",
        type_ = "string",
        json_path = ".status.model.name",
        description = "Model that produced the result."
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Attempts", type_ = "integer", json_path = ".status.attempts"),
    printcolumn(
        name = "Result",
        type_ = "string",
        json_path = ".status.summary",
        description = "Result in one line, or the reason of the failure; of a batch its counts as well."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = spec_schema)]
pub struct InferenceJobSpec {
    /// Task to run, named after the Hugging Face pipeline: image-to-text writes a caption,
    /// image-classification returns labels with scores, object-detection returns objects with
    /// boxes.
    pub task: Task,

    /// Name of one of the pool's models. Defaults to the pool's default model for the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = crate::rules::label("model"))]
    pub model: Option<String>,

    /// RunnerPool that runs the job. Defaults to the installation's default pool; the operator
    /// records its choice in status.poolRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolRef>,

    /// Picture, or batch of pictures, to run the task on.
    pub input: Input,

    /// Where a batch writes its results. Required for a batch, and for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,

    /// Batch: maximum number of shards that run at once. 0 holds the batch. Unlimited if omitted. Can be
    /// changed while the batch runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_PARALLELISM))]
    pub parallelism: Option<u32>,

    /// Batch: share of failed pictures, in thousandths of all, above which the batch ends early as
    /// Failed. 1000, the default, never ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_PERMILLE))]
    pub max_failed_permille: Option<u32>,

    /// Parameters of the task. An omitted parameter takes the model's own default.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,

    /// Whether answers are reused: a picture with the same bytes as one that this namespace's jobs with
    /// `reuse` have had run before, by the same model and revision and with the same parameters, gets that
    /// answer and is not run. New answers are kept in the bucket for as long as the operator's flag
    /// `--reuse-retention-seconds` says, 30 days by default, also after the job is deleted. False if omitted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reuse: bool,

    /// Order within the namespace: jobs with a higher priority run first, then older ones. Jobs of
    /// other namespaces are not affected. 0 if omitted.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = -MAX_PRIORITY, max = MAX_PRIORITY))]
    pub priority: i32,

    /// Retry policy for attempts that fail for a transient reason. If omitted, 3 retries after 60, 120 and
    /// 240 seconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: Retry,

    /// Maximum duration of one attempt, in seconds. In a batch, of one attempt at a shard. 600 if omitted.
    #[serde(
        default = "default_attempt_deadline_seconds",
        skip_serializing_if = "is_default_attempt_deadline"
    )]
    #[schemars(range(min = 1, max = MAX_ATTEMPT_SECONDS))]
    pub attempt_deadline_seconds: u32,

    /// Maximum duration of all attempts together, in seconds from status.startTime. Unlimited if
    /// omitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_SPAN_SECONDS))]
    pub active_deadline_seconds: Option<u32>,

    /// Maximum wait for a runner, in seconds, from the latest of: the job's creation, its latest
    /// resumption, status.nextAttemptTime. The job fails after it. 86400 if omitted.
    #[serde(
        default = "default_queue_deadline_seconds",
        skip_serializing_if = "is_default_queue_deadline"
    )]
    #[schemars(range(min = 1, max = MAX_SPAN_SECONDS))]
    pub queue_deadline_seconds: u32,

    /// Time after which a finished job is deleted, in seconds from status.completionTime. If
    /// omitted, the job stays until the installation's limit on finished jobs is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_SPAN_SECONDS))]
    pub ttl_seconds_after_finished: Option<u32>,

    /// Suspends the job: no further attempt starts until this is false again. False if omitted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,

    /// Cancels the job. Cannot be reset to false. False if omitted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cancel: bool,

    /// Controller that runs this job, as `<domain>/<path>`. Fovea runs the job if this is omitted or
    /// `fovea.dev/operator`, and ignores it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = rules::managed_by())]
    pub managed_by: Option<String>,

    /// Webhook that the operator sends when the job has finished, in the Standard Webhooks format,
    /// signed with the Secret `fovea-webhook` of the job's namespace (type fovea.dev/webhook, key
    /// `secret`: `whsec_` and base64). Delivery is retried for up to 20 hours, and the TTL starts to
    /// apply after it; see status.callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Callback>,
}

impl InferenceJobSpec {
    /// A spec whose optional fields have the values that they have if omitted.
    pub fn new(task: Task, input: Input) -> Self {
        Self {
            task,
            model: None,
            pool_ref: None,
            input,
            output: None,
            parallelism: None,
            max_failed_permille: None,
            parameters: Parameters::default(),
            reuse: false,
            priority: 0,
            retry: Retry::default(),
            attempt_deadline_seconds: default_attempt_deadline_seconds(),
            active_deadline_seconds: None,
            queue_deadline_seconds: default_queue_deadline_seconds(),
            ttl_seconds_after_finished: None,
            suspend: false,
            cancel: false,
            managed_by: None,
            callback: None,
        }
    }
}

/// Reference to a RunnerPool by namespace and name.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// Name of the RunnerPool to run the job.
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    #[x_kube(validation = crate::rules::subdomain("poolRef.name"))]
    pub name: String,

    /// Namespace of the RunnerPool. Defaults to the job's namespace. A pool in another namespace
    /// must allow the job's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = crate::rules::label("poolRef.namespace"))]
    pub namespace: Option<String>,
}

/// Receiver of the webhook that announces a job's end.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// HTTPS URL of the receiver, without user name, password or fragment.
    #[schemars(length(min = 1, max = MAX_URL_LENGTH))]
    #[x_kube(validation = rules::callback_url())]
    pub url: String,
}

/// Retry policy. The delay doubles with each attempt, from initialDelaySeconds up to
/// maxDelaySeconds.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::delays())]
pub struct Retry {
    /// Maximum number of retries after the first attempt. Interruptions by a lost runner do not
    /// count, except as status.interruptions describes.
    #[serde(default = "default_retry_limit")]
    #[schemars(range(max = MAX_RETRIES))]
    pub limit: u32,

    /// Delay before the first retry, in seconds.
    #[serde(default = "default_initial_delay_seconds")]
    #[schemars(range(min = 1, max = MAX_RETRY_DELAY_SECONDS))]
    pub initial_delay_seconds: u32,

    /// Upper bound of the delay between two attempts, in seconds.
    #[serde(default = "default_max_delay_seconds")]
    #[schemars(range(min = 1, max = MAX_RETRY_DELAY_SECONDS))]
    pub max_delay_seconds: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            limit: default_retry_limit(),
            initial_delay_seconds: default_initial_delay_seconds(),
            max_delay_seconds: default_max_delay_seconds(),
        }
    }
}

fn default_retry_limit() -> u32 {
    3
}

fn default_initial_delay_seconds() -> u32 {
    60
}

fn default_max_delay_seconds() -> u32 {
    600
}

fn default_attempt_deadline_seconds() -> u32 {
    600
}

fn default_queue_deadline_seconds() -> u32 {
    86_400
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "for serde")]
fn is_default_attempt_deadline(seconds: &u32) -> bool {
    *seconds == default_attempt_deadline_seconds()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "for serde")]
fn is_default_queue_deadline(seconds: &u32) -> bool {
    *seconds == default_queue_deadline_seconds()
}

/// Adds the rules about several fields.
fn spec_schema(schema: &mut Schema) {
    schema::structural(schema);
    schema::atomic_properties(schema);
    schema::add_rules(schema, [rules::parameters(), rules::batch()]);
}
