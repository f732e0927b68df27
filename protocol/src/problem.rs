//! RFC 9457 problems that a runner returns.

use serde::{Deserialize, Serialize};

/// Content type of a problem that is a whole response.
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// Reason why an attempt has no result. The operator maps it to the job's `failure.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The bytes are not a picture that the runner can decode. Never retried.
    InvalidPicture,
    /// The picture exceeds the runner's limits of bytes or pixels. Never retried.
    PictureTooLarge,
    /// The bytes do not match the SHA-256 in the job. Never retried.
    DigestMismatch,
    /// The object store answers 404. Never retried.
    PictureNotFound,
    /// The parameters do not fit the model or the task. Never retried.
    InvalidParameters,
    /// The runner does not have this model. Handled as [`Reason::Busy`], since the pool includes
    /// the model.
    UnknownModel,
    /// The store did not deliver the whole picture in time. Counted and retried; not counted while the
    /// store does not answer the operator either.
    FetchFailed,
    /// The attempt's deadline passed. Counted and retried.
    DeadlineExceeded,
    /// The device ran out of memory. Counted and retried.
    OutOfMemory,
    /// The model failed on this picture. Counted and retried.
    InferenceFailed,
    /// The device failed during this picture's batch, and the runner exits. Handled as a lost
    /// runner.
    DeviceLost,
    /// The runner has no free slot. The job returns to its queue and no attempt is counted.
    Busy,
    /// The runner is not ready or is draining. Handled as [`Reason::Busy`].
    NotReady,
    /// The sender's epoch is lower than the highest that the runner remembers, which
    /// [`Problem::epoch`] holds.
    StaleEpoch,
    /// The bearer token is missing or wrong.
    Unauthorized,
    /// The request does not follow this protocol.
    MalformedRequest,
    /// A reason from a newer peer that this build does not define.
    #[serde(other)]
    Unknown,
}

impl Reason {
    /// Name of the reason as in problems, for metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidPicture => "InvalidPicture",
            Self::PictureTooLarge => "PictureTooLarge",
            Self::DigestMismatch => "DigestMismatch",
            Self::PictureNotFound => "PictureNotFound",
            Self::InvalidParameters => "InvalidParameters",
            Self::UnknownModel => "UnknownModel",
            Self::FetchFailed => "FetchFailed",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::OutOfMemory => "OutOfMemory",
            Self::InferenceFailed => "InferenceFailed",
            Self::DeviceLost => "DeviceLost",
            Self::Busy => "Busy",
            Self::NotReady => "NotReady",
            Self::StaleEpoch => "StaleEpoch",
            Self::Unauthorized => "Unauthorized",
            Self::MalformedRequest => "MalformedRequest",
            Self::Unknown => "Unknown",
        }
    }

    /// Whether another attempt may succeed.
    pub fn retryable(self) -> bool {
        match self {
            Self::InvalidPicture
            | Self::PictureTooLarge
            | Self::DigestMismatch
            | Self::PictureNotFound
            | Self::InvalidParameters
            | Self::MalformedRequest => false,
            Self::FetchFailed
            | Self::UnknownModel
            | Self::DeadlineExceeded
            | Self::OutOfMemory
            | Self::InferenceFailed
            | Self::DeviceLost
            | Self::Busy
            | Self::NotReady
            | Self::StaleEpoch
            | Self::Unauthorized
            | Self::Unknown => true,
        }
    }

    /// HTTP status of a response with this problem.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidPicture
            | Self::PictureTooLarge
            | Self::DigestMismatch
            | Self::PictureNotFound
            | Self::InvalidParameters => 422,
            Self::MalformedRequest => 400,
            Self::UnknownModel => 404,
            Self::Unauthorized => 401,
            Self::StaleEpoch => 409,
            Self::FetchFailed => 502,
            Self::DeadlineExceeded => 504,
            Self::Busy | Self::NotReady | Self::DeviceLost => 503,
            Self::OutOfMemory | Self::InferenceFailed | Self::Unknown => 500,
        }
    }

    /// Title of problems with this reason.
    pub fn title(self) -> &'static str {
        match self {
            Self::InvalidPicture => "The input is not a picture that can be decoded",
            Self::PictureTooLarge => "The picture is too large",
            Self::DigestMismatch => "The picture is not the one that the job names",
            Self::PictureNotFound => "There is no picture at the job's input",
            Self::InvalidParameters => "The parameters do not fit the model",
            Self::UnknownModel => "The runner does not serve this model",
            Self::FetchFailed => "The picture could not be fetched",
            Self::DeadlineExceeded => "The attempt's deadline passed",
            Self::OutOfMemory => "The device ran out of memory",
            Self::InferenceFailed => "The model failed",
            Self::DeviceLost => "The runner's device failed",
            Self::Busy => "The runner has no free slot",
            Self::NotReady => "The runner is not ready",
            Self::StaleEpoch => "The leader has been replaced",
            Self::Unauthorized => "The bearer token is missing or wrong",
            Self::MalformedRequest => "The request is malformed",
            Self::Unknown => "Unknown problem",
        }
    }
}

/// An RFC 9457 problem, with Fovea's `reason` and `retryable` beside the standard members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank` is never used: `urn:fovea:problem:<Reason>`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// Short sentence, the same for every problem with this reason.
    pub title: String,
    /// HTTP status, also in a stream whose own status was 200.
    pub status: u16,
    /// Human-readable details: what failed and how to fix it.
    pub detail: String,
    /// Reason as a word, by which programs distinguish problems.
    pub reason: Reason,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// With [`Reason::StaleEpoch`]: the highest epoch of the installation that the runner remembers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// At the end of an attempt: the time of the runner that it used; see [`crate::Timings::cost_micros`].
    #[serde(
        default,
        rename = "costMicros",
        skip_serializing_if = "Option::is_none"
    )]
    pub cost_micros: Option<u64>,
}

impl Problem {
    /// Creates a problem for `reason`; the user reads `detail`.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("urn:fovea:problem:{reason:?}"),
            title: reason.title().to_owned(),
            status: reason.status(),
            detail: detail.into(),
            reason,
            retryable: reason.retryable(),
            epoch: None,
            cost_micros: None,
        }
    }

    /// The refusal of a sender whose epoch is lower than `remembered`.
    pub fn stale_epoch(remembered: u64, detail: impl Into<String>) -> Self {
        Self {
            epoch: Some(remembered),
            ..Self::new(Reason::StaleEpoch, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_a_newer_peer_is_read_as_unknown() {
        let reason: Reason = serde_json::from_str("\"SolarFlare\"").unwrap();
        assert_eq!(reason, Reason::Unknown);
        assert!(reason.retryable());
    }

    #[test]
    fn a_problem_carries_its_reason_as_type_status_and_word() {
        let problem = serde_json::to_value(Problem::new(Reason::InvalidPicture, "no")).unwrap();
        assert_eq!(
            problem,
            serde_json::json!({
                "type": "urn:fovea:problem:InvalidPicture",
                "title": "The input is not a picture that can be decoded",
                "status": 422,
                "detail": "no",
                "reason": "InvalidPicture",
                "retryable": false,
            })
        );
    }

    #[test]
    fn a_refused_leader_is_told_the_epoch_that_the_runner_remembers() {
        let problem = Problem::stale_epoch(7, "a leader of epoch 7 has taken over");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(
            (&json["reason"], &json["epoch"]),
            (&"StaleEpoch".into(), &7.into())
        );
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }
}
