//! `status` of an `InferenceJob`.

use super::{JobResult, rules};
use crate::{
    bounds::{
        MAX_MESSAGE_LENGTH, MAX_REASON_LENGTH, MAX_REVISION_LENGTH, MAX_RUNNER_LENGTH,
        MAX_SUMMARY_LENGTH,
    },
    conditions,
    rules::{REASON_PATTERN, SHA256_PATTERN},
    schema,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Observed state of the job. Only the operator writes it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::structural)]
#[x_kube(
    validation = rules::final_once_terminal("phase"),
    validation = rules::final_once_terminal("result"),
    validation = rules::final_once_terminal("failure"),
)]
pub struct InferenceJobStatus {
    /// Phase of the job: Pending, Running, Succeeded, Failed or Cancelled. The last three are
    /// final.
    #[serde(default)]
    pub phase: Phase,

    /// Generation of the spec that this status is based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,

    /// Pool that runs the job. It does not change once it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<ResolvedPoolRef>,

    /// Conditions of the job: Accepted, Scheduled, Suspended and Complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// Number of ended attempts: failures that count towards spec.retry.limit, and the success.
    #[serde(default)]
    pub attempts: u32,

    /// Number of attempts that ended because their runner was lost. An interruption is also counted
    /// in attempts if the job ran alone on a runner that had completed other jobs.
    #[serde(default)]
    pub interruptions: u32,

    /// Whether further attempts run alone in their batch, because a runner was lost while it ran
    /// this job.
    #[serde(default)]
    pub exclusive: bool,

    /// Earliest time of the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,

    /// Time at which the first attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// Time at which the job reached its final phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// Runner of the latest attempt: the name of a pod, or an external endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_RUNNER_LENGTH))]
    pub runner: Option<String>,

    /// Model that produced the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ServedModel>,

    /// Result of the job. It is truncated if resultSha256 is set; the whole result is then in the
    /// bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JobResult>,

    /// Result in one line, or the reason for the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SUMMARY_LENGTH))]
    pub summary: Option<String>,

    /// Size in bytes of the whole result, if it is in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,

    /// SHA-256 of the whole result, if it is in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = SHA256_PATTERN), length(max = 64))]
    pub result_sha256: Option<String>,

    /// Reason why the job has no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,

    /// Durations of the steps of the successful attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,

    /// Delivery state of spec.callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackStatus>,
}

/// Delivery state of a job's callback.
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
    /// Error of the last delivery attempt that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_MESSAGE_LENGTH))]
    pub last_error: Option<String>,
}

/// Phase of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The job waits for a runner or for a retry, or it is suspended.
    #[default]
    Pending,
    /// A runner works on the job.
    Running,
    /// The job has a result.
    Succeeded,
    /// The job has failed.
    Failed,
    /// A user has cancelled the job.
    Cancelled,
}

impl Phase {
    /// Whether the phase is final.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }

    /// Name of the phase in the resource.
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

/// Pool that a job was assigned to.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ResolvedPoolRef {
    /// Name of the pool.
    #[schemars(length(max = crate::bounds::MAX_NAME_LENGTH))]
    pub name: String,
    /// Namespace of the pool.
    #[schemars(length(max = crate::bounds::MAX_LABEL_LENGTH))]
    pub namespace: String,
}

/// Model that produced a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServedModel {
    /// Name of the model in the pool.
    #[schemars(length(max = crate::bounds::MAX_LABEL_LENGTH))]
    pub name: String,
    /// Version of the weights: a commit of the Hugging Face repository, or `sha256:<digest>` of the
    /// weights file.
    #[schemars(length(max = MAX_REVISION_LENGTH))]
    pub revision: String,
}

/// Reason why a job has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Machine-readable reason in CamelCase, such as `InvalidPicture`.
    #[schemars(regex(pattern = REASON_PATTERN), length(min = 1, max = MAX_REASON_LENGTH))]
    pub reason: String,
    /// Human-readable message: what failed and how to fix it.
    #[schemars(length(max = MAX_MESSAGE_LENGTH))]
    pub message: String,
    /// Whether a new job with the same spec may succeed.
    pub retryable: bool,
}

/// Durations of the steps of the successful attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// Time from the job's creation to the start of the successful attempt, plus the time that this
    /// attempt waited inside the runner for the model, in milliseconds.
    pub queue_millis: u64,
    /// Time spent on fetching the picture, in milliseconds.
    pub fetch_millis: u64,
    /// Time spent on decoding, preprocessing and inference, in milliseconds.
    pub infer_millis: u64,
    /// Number of pictures in the batch of the successful attempt.
    pub batch_size: u32,
}
