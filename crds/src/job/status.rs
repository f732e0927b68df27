//! What the operator tells about a job.

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

/// Written by the operator alone.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::structural)]
#[x_kube(
    validation = rules::final_once_terminal("phase"),
    validation = rules::final_once_terminal("result"),
    validation = rules::final_once_terminal("failure"),
)]
pub struct InferenceJobStatus {
    /// How far the job has come. Succeeded, Failed and Cancelled are final.
    #[serde(default)]
    pub phase: Phase,

    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,

    /// The pool that runs the job, resolved once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<ResolvedPoolRef>,

    /// Accepted, Scheduled and Complete, each with a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// Attempts that have ended and count against spec.retry.limit.
    #[serde(default)]
    pub attempts: u32,

    /// Attempts that a lost runner ended; they do not count as attempts.
    #[serde(default)]
    pub interruptions: u32,

    /// The job runs alone in its batch from now on: it may have taken a runner down.
    #[serde(default)]
    pub exclusive: bool,

    /// When the next attempt may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,

    /// When the first attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When the job reached its final phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// The runner of the latest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_RUNNER_LENGTH))]
    pub runner: Option<String>,

    /// The model of the latest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ServedModel>,

    /// What came out; the head of it where resultSha256 is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JobResult>,

    /// The result in one line, or the failure's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SUMMARY_LENGTH))]
    pub summary: Option<String>,

    /// Length of the whole result, where it lies in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,

    /// SHA-256 of the whole result, where it lies in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = SHA256_PATTERN), length(max = 64))]
    pub result_sha256: Option<String>,

    /// Why there is no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,

    /// Where the last attempt's time went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,

    /// How far the telling of spec.callback has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackStatus>,
}

/// How far a callback has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackStatus {
    /// Whether the receiver has taken it.
    pub delivered: bool,
    /// Tries so far.
    #[serde(default)]
    pub attempts: u32,
    /// When the next try may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// What the last try that failed met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_MESSAGE_LENGTH))]
    pub last_error: Option<String>,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Waiting: for its turn, for a retry, or suspended.
    #[default]
    Pending,
    /// With a runner.
    Running,
    /// There is a result.
    Succeeded,
    /// There is a failure.
    Failed,
    /// Ended on the user's word.
    Cancelled,
}

impl Phase {
    /// Whether the job has ended; such a phase never changes.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }

    /// The name as it stands in objects.
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

/// The pool that a job was given to.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ResolvedPoolRef {
    /// The pool's name.
    #[schemars(length(max = crate::bounds::MAX_NAME_LENGTH))]
    pub name: String,
    /// The pool's namespace.
    #[schemars(length(max = crate::bounds::MAX_LABEL_LENGTH))]
    pub namespace: String,
}

/// The model behind a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServedModel {
    /// The pool's name for it.
    #[schemars(length(max = crate::bounds::MAX_LABEL_LENGTH))]
    pub name: String,
    /// Which weights: a hub commit, or `sha256:<digest>` of the weights file.
    #[schemars(length(max = MAX_REVISION_LENGTH))]
    pub revision: String,
}

/// Why a job has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// For programs: one word in CamelCase, such as `InvalidPicture`.
    #[schemars(regex(pattern = REASON_PATTERN), length(min = 1, max = MAX_REASON_LENGTH))]
    pub reason: String,
    /// For people: what was wrong and what to do about it.
    #[schemars(length(max = MAX_MESSAGE_LENGTH))]
    pub message: String,
    /// Whether the same job made anew may end differently.
    pub retryable: bool,
}

/// Where the last attempt's time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// From the job's creation to the attempt's begin, in milliseconds.
    pub queue_millis: u64,
    /// Getting the picture, in milliseconds.
    pub fetch_millis: u64,
    /// Decoding, preprocessing and the model, in milliseconds.
    pub infer_millis: u64,
    /// Pictures that shared the model's pass.
    pub batch_size: u32,
}
