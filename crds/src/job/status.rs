//! The observed state of a job, and the only part that the operator writes.

use super::{BatchOutput, Counts, JobResult, rules};
use crate::{
    bounds::{
        MAX_MESSAGE_LENGTH, MAX_PERMILLE, MAX_REASON_LENGTH, MAX_REVISION_LENGTH,
        MAX_RUNNER_LENGTH, MAX_SUMMARY_LENGTH,
    },
    conditions,
    rules::{REASON_PATTERN, SHA256_PATTERN},
    schema,
    serde_default::is_default,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Observed state of the job. Only the operator writes it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::structural, transform = schema::atomic, transform = unobserved)]
#[x_kube(validation = rules::final_once_terminal())]
pub struct InferenceJobStatus {
    /// Phase of the job. Succeeded, Failed and Cancelled are terminal and never change.
    #[serde(default)]
    pub phase: Phase,

    /// Generation of the spec that this status was computed from; -1 until the operator has written a
    /// status. It follows edits of a finished job, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,

    /// RunnerPool that the operator chose for the job. Never changes once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<ResolvedPoolRef>,

    /// Conditions of the job. Until it ends: Reconciling, Accepted, Scheduled and Suspended. Once it has
    /// ended: Complete if it succeeded; Failed and Stalled if it failed; Failed alone if it was
    /// cancelled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// Number of ended attempts: the failed ones that count against spec.retry.limit, and the
    /// successful one.
    #[serde(default)]
    pub attempts: u32,

    /// Number of attempts that ended because the runner was lost. The job fails after 10 of them. An
    /// interruption also counts in attempts if the job was probably its cause: it ran alone in its
    /// batch, and the runner had completed another job before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub interruptions: u32,

    /// Whether the job runs alone in its batch because it may have crashed a runner.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclusive: bool,

    /// Earliest time of the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,

    /// Time at which the first attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// Time at which the job reached a terminal phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// Runner of the latest attempt: the URL of its pod, or its endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_RUNNER_LENGTH))]
    pub runner: Option<String>,

    /// Model that produced the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ServedModel>,

    /// Whether the result was given before and the picture was not run, with spec.reuse. Of a batch,
    /// counts.reused says how many.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reused: bool,

    /// Result of the task. Truncated if resultSha256 is set; the API serves the full result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JobResult>,

    /// Result in one line, or the reason of the failure; of a batch its counts as well. Shown by `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SUMMARY_LENGTH))]
    pub summary: Option<String>,

    /// Size of the full result in bytes, if it is stored in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,

    /// SHA-256 of the full result, if it is stored in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = SHA256_PATTERN), length(max = 64))]
    pub result_sha256: Option<String>,

    /// Batch: pictures by their outcome, updated at most every 5 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,

    /// Batch: share of the work that is done, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_PERMILLE))]
    pub progress_permille: Option<u32>,

    /// Batch: pictures done per second, over the last minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<f64>,

    /// Batch: time at which it will be done if the rate stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_completion_time: Option<Time>,

    /// Batch: where the results are. Set at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BatchOutput>,

    /// Failure of the job. Set if the phase is Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,

    /// Durations of the successful attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,

    /// Delivery state of spec.callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackStatus>,
}

/// The phase is there for the rules, which read it.
fn unobserved(schema: &mut Schema) {
    let status = json!({"observedGeneration": conditions::UNOBSERVED, "phase": Phase::Pending});
    schema.insert("default".to_owned(), status);
}

/// Delivery state of a callback.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackStatus {
    /// Whether the receiver has accepted the webhook.
    pub delivered: bool,
    /// Number of delivery attempts so far.
    #[serde(default)]
    pub attempts: u32,
    /// Earliest time of the next delivery attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// Error of the latest failed delivery attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_MESSAGE_LENGTH))]
    pub last_error: Option<String>,
}

/// State of a job, from its creation to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Waiting for a runner or for a retry, or suspended.
    #[default]
    Pending,
    /// An attempt is under way.
    Running,
    /// The job finished with a result.
    Succeeded,
    /// The job finished without a result; status.failure says why.
    Failed,
    /// The job was ended by spec.cancel.
    Cancelled,
}

impl Phase {
    /// Whether the job has finished. A terminal phase never changes.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }

    /// The phase's name in the resource.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// RunnerPool that a job was assigned to.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ResolvedPoolRef {
    /// Name of the RunnerPool that the job was assigned to.
    #[schemars(length(max = crate::bounds::MAX_NAME_LENGTH))]
    pub name: String,
    /// Namespace of the RunnerPool.
    #[schemars(length(max = crate::bounds::MAX_LABEL_LENGTH))]
    pub namespace: String,
}

/// Model that produced a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServedModel {
    /// Name of the model in the pool.
    #[schemars(length(max = crate::bounds::MAX_LABEL_LENGTH))]
    pub name: String,
    /// Revision of the weights: a commit of the Hugging Face repository, or `sha256:<digest>` of
    /// the weights file.
    #[schemars(length(max = MAX_REVISION_LENGTH))]
    pub revision: String,
}

/// Reason why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Machine-readable reason in CamelCase, such as `InvalidPicture`.
    #[schemars(regex(pattern = REASON_PATTERN), length(min = 1, max = MAX_REASON_LENGTH))]
    pub reason: String,
    /// Human-readable description of the failure and of what to do about it.
    #[schemars(length(max = MAX_MESSAGE_LENGTH))]
    pub message: String,
    /// Whether a new job with the same spec may succeed.
    pub retryable: bool,
}

/// Durations of the successful attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// Time from the job's creation to the start of the successful attempt, plus the time that this
    /// attempt waited inside the runner for the model, in milliseconds. Earlier attempts are
    /// included.
    pub queue_millis: u64,
    /// Time to download the picture, in milliseconds.
    pub fetch_millis: u64,
    /// Time to decode and preprocess the picture and to run the model, in milliseconds.
    pub infer_millis: u64,
    /// Number of pictures in the model's forward pass.
    pub batch_size: u32,
}
