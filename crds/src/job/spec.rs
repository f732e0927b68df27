//! What a user asks for.

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

/// One inference on one picture. Everything is fixed when the job is made, but for suspend,
/// cancel, priority and ttlSecondsAfterFinished.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fovea.dev",
    version = "v1alpha1",
    kind = "InferenceJob",
    plural = "inferencejobs",
    shortname = "ij",
    category = "fovea",
    namespaced,
    doc = "One inference on one picture: what to do, with which model, on which picture; and in its status, the result.",
    status = "InferenceJobStatus",
    derive = "PartialEq",
    selectable = ".spec.poolRef.name",
    selectable = ".status.phase",
    printcolumn(name = "Task", type_ = "string", json_path = ".spec.task"),
    printcolumn(
        name = "Model",
        type_ = "string",
        json_path = ".status.model.name",
        description = "The model that was chosen."
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Attempts", type_ = "integer", json_path = ".status.attempts"),
    printcolumn(
        name = "Result",
        type_ = "string",
        json_path = ".status.summary",
        description = "The result in one line, or why there is none."
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
    /// What to do, by Hugging Face's pipeline names: image-to-text writes a caption,
    /// image-classification names what the picture shows, object-detection finds objects.
    pub task: Task,

    /// A model that the pool serves, by the pool's name for it. Left out: the pool's default
    /// model for the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = crate::rules::label("model"))]
    pub model: Option<String>,

    /// The pool that runs the job. Left out: the installation's default pool; which one it was
    /// is told in status.poolRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolRef>,

    /// The picture.
    pub input: Input,

    /// Settings of the task. What is left out is the model's own default.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,

    /// Order within the namespace: higher first, then older first. It says nothing against other
    /// namespaces' jobs.
    #[serde(default)]
    #[schemars(range(min = -MAX_PRIORITY, max = MAX_PRIORITY))]
    pub priority: i32,

    /// What follows an attempt that failed for a reason that may pass.
    #[serde(default)]
    pub retry: Retry,

    /// How long one attempt may take, in seconds.
    #[serde(default = "default_attempt_deadline_seconds")]
    #[schemars(range(min = 1, max = MAX_ATTEMPT_SECONDS))]
    pub attempt_deadline_seconds: u32,

    /// How long all attempts may take together, in seconds from status.startTime. Left out: as
    /// long as the attempts last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_SPAN_SECONDS))]
    pub active_deadline_seconds: Option<u32>,

    /// How long the job may wait for a runner, in seconds: from its creation, from its latest
    /// resumption, or from the time that a retry waits for.
    #[serde(default = "default_queue_deadline_seconds")]
    #[schemars(range(min = 1, max = MAX_SPAN_SECONDS))]
    pub queue_deadline_seconds: u32,

    /// When a finished job is deleted, in seconds from status.completionTime. Left out: the job
    /// stays until the installation's bound on finished jobs is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_SPAN_SECONDS))]
    pub ttl_seconds_after_finished: Option<u32>,

    /// Hold the job back: no further attempt begins until this is false again.
    #[serde(default)]
    pub suspend: bool,

    /// End the job as Cancelled. It cannot be taken back.
    #[serde(default)]
    #[x_kube(validation = rules::cancel())]
    pub cancel: bool,

    /// The controller that runs this job, a domain and a path. Left out, or
    /// `fovea.dev/operator`: Fovea does; any other: Fovea leaves the job alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = rules::managed_by())]
    pub managed_by: Option<String>,

    /// Whom to tell that the job has ended: the operator sends a webhook in the Standard Webhooks
    /// form, signed with the namespace's Secret fovea-webhook (type fovea.dev/webhook, key secret:
    /// whsec_ and base64), and tries again for 20 hours until it is taken. status.callback tells
    /// how far it has come; the job's TTL waits for its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Callback>,
}

impl InferenceJobSpec {
    /// A job with the defaults that the API server would fill in.
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

/// Names a `RunnerPool`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// The pool's name.
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    #[x_kube(validation = crate::rules::subdomain("poolRef.name"))]
    pub name: String,

    /// The pool's namespace. Left out: the job's own. A pool in another namespace must allow
    /// this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = crate::rules::label("poolRef.namespace"))]
    pub namespace: Option<String>,
}

/// Whom to tell that a job has ended.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// An https URL without user name, password or fragment.
    #[schemars(length(min = 1, max = MAX_URL_LENGTH))]
    #[x_kube(validation = rules::callback_url())]
    pub url: String,
}

/// What follows a failed attempt. The delay doubles from the initial to the greatest one.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::delays())]
pub struct Retry {
    /// How many attempts may follow the first one; 0: none. Attempts that a lost runner ended
    /// do not count.
    #[serde(default = "default_retry_limit")]
    #[schemars(range(max = MAX_RETRIES))]
    pub limit: u32,

    /// Seconds between the first attempt and the second.
    #[serde(default = "default_initial_delay_seconds")]
    #[schemars(range(min = 1, max = MAX_RETRY_DELAY_SECONDS))]
    pub initial_delay_seconds: u32,

    /// Seconds between two attempts at most.
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
