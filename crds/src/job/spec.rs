//! `spec` of an `InferenceJob`.

use super::{InferenceJobStatus, Input, Parameters, Task, rules};
use crate::{
    bounds::{
        MAX_ATTEMPT_SECONDS, MAX_LABEL_LENGTH, MAX_NAME_LENGTH, MAX_PRIORITY, MAX_RETRIES,
        MAX_RETRY_DELAY_SECONDS, MAX_SPAN_SECONDS, MAX_URL_LENGTH,
    },
    schema,
};
use kube::{CustomResource, KubeSchema};
use schemars::Schema;
use serde::{Deserialize, Serialize};

/// Desired inference on one picture. Only suspend, cancel, priority and ttlSecondsAfterFinished can
/// change after creation.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fovea.dev",
    version = "v1alpha1",
    kind = "InferenceJob",
    plural = "inferencejobs",
    shortname = "ij",
    category = "fovea",
    namespaced,
    doc = "InferenceJob runs one task with one model on one picture and holds the result in its status.",
    status = "InferenceJobStatus",
    derive = "PartialEq",
    selectable = ".spec.poolRef.name",
    selectable = ".status.phase",
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
        description = "Result in one line, or the reason for the failure."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = spec_schema)]
#[x_kube(
    validation = rules::only_for("maxNewTokens", Task::ImageToText),
    validation = rules::only_for("numBeams", Task::ImageToText),
    validation = rules::only_for("prompt", Task::ImageToText),
    validation = rules::only_for("topK", Task::ImageClassification),
    validation = rules::only_for("scoreThresholdPermille", Task::ObjectDetection),
)]
pub struct InferenceJobSpec {
    /// Task to run, by its Hugging Face pipeline name: image-to-text writes a caption,
    /// image-classification labels the picture, object-detection finds objects and their boxes.
    pub task: Task,

    /// Name of one of the pool's models. Defaults to the pool's default model for the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = crate::rules::label("model"))]
    pub model: Option<String>,

    /// Pool that runs the job. Defaults to the installation's default pool. status.poolRef holds
    /// the pool that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolRef>,

    /// Picture to process. Exactly one of upload, object and inline must be set.
    pub input: Input,

    /// Parameters of the task. Each one defaults to the model's own setting.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,

    /// Priority among the jobs of this namespace: higher runs first, then older. It does not affect
    /// jobs of other namespaces.
    #[serde(default)]
    #[schemars(range(min = -MAX_PRIORITY, max = MAX_PRIORITY))]
    pub priority: i32,

    /// Retry policy for attempts that fail for a reason that may pass.
    #[serde(default)]
    pub retry: Retry,

    /// Time limit of one attempt, in seconds.
    #[serde(default = "default_attempt_deadline_seconds")]
    #[schemars(range(min = 1, max = MAX_ATTEMPT_SECONDS))]
    pub attempt_deadline_seconds: u32,

    /// Time limit of all attempts together, in seconds from status.startTime. No limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_SPAN_SECONDS))]
    pub active_deadline_seconds: Option<u32>,

    /// Time limit for waiting for a runner, in seconds, counted from the latest of: the job's
    /// creation, its latest resumption, and status.nextAttemptTime. The job fails with
    /// QueueDeadlineExceeded after it.
    #[serde(default = "default_queue_deadline_seconds")]
    #[schemars(range(min = 1, max = MAX_SPAN_SECONDS))]
    pub queue_deadline_seconds: u32,

    /// Time until a finished job is deleted, in seconds from status.completionTime. By default the
    /// job is kept until the installation's limit on finished jobs is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_SPAN_SECONDS))]
    pub ttl_seconds_after_finished: Option<u32>,

    /// Suspends the job: no new attempt starts while this is true. A running attempt goes on.
    #[serde(default)]
    pub suspend: bool,

    /// Cancels the job. It cannot be undone.
    #[serde(default)]
    #[x_kube(validation = rules::cancel())]
    pub cancel: bool,

    /// Controller that runs this job, as a domain and a path. Fovea runs the job if this is unset
    /// or fovea.dev/operator, and ignores it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = rules::managed_by())]
    pub managed_by: Option<String>,

    /// Webhook that the operator sends when the job finishes, in the Standard Webhooks format. It
    /// is signed with the key from the namespace's Secret fovea-webhook (type fovea.dev/webhook,
    /// key secret: whsec_ followed by base64). Failed deliveries are retried for 20 hours.
    /// status.callback holds the delivery state. The job is not deleted by its TTL before the
    /// delivery has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Callback>,
}

impl InferenceJobSpec {
    /// A spec with the defaults that the API server fills in.
    pub fn new(task: Task, input: Input) -> Self {
        Self {
            task,
            model: None,
            pool_ref: None,
            input,
            parameters: Parameters::default(),
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

/// Reference to a RunnerPool.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// Name of the pool.
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    #[x_kube(validation = crate::rules::subdomain("poolRef.name"))]
    pub name: String,

    /// Namespace of the pool. Defaults to the job's own. A pool in another namespace must allow
    /// jobs from this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = crate::rules::label("poolRef.namespace"))]
    pub namespace: Option<String>,
}

/// Receiver of the webhook that reports a finished job.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// HTTPS URL, without user name, password or fragment.
    #[schemars(length(min = 1, max = MAX_URL_LENGTH))]
    #[x_kube(validation = rules::callback_url())]
    pub url: String,
}

/// Retry policy. The delay between attempts doubles from initialDelaySeconds up to maxDelaySeconds.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::delays())]
pub struct Retry {
    /// Maximum number of retries after the first attempt; 0 disables them. An attempt whose runner
    /// was lost does not count, unless the job ran alone on a runner that had completed other jobs.
    #[serde(default = "default_retry_limit")]
    #[schemars(range(max = MAX_RETRIES))]
    pub limit: u32,

    /// Delay before the first retry, in seconds.
    #[serde(default = "default_initial_delay_seconds")]
    #[schemars(range(min = 1, max = MAX_RETRY_DELAY_SECONDS))]
    pub initial_delay_seconds: u32,

    /// Upper limit of the delay between attempts, in seconds.
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

fn spec_schema(schema: &mut Schema) {
    schema::structural(schema);
    schema::for_each_but(
        schema,
        &["suspend", "cancel", "priority", "ttlSecondsAfterFinished"],
        rules::immutable,
    );
}
