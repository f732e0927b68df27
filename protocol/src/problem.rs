//! RFC 9457 problems as a runner tells them.

use serde::{Deserialize, Serialize};

/// Content type of a problem that is a whole response.
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// Why an attempt gave no result. The operator maps it to the job's `failure.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The bytes are no picture, or not one that can be decoded. Never retried.
    InvalidPicture,
    /// The picture is larger than the runner's bounds (bytes or pixels). Never retried.
    PictureTooLarge,
    /// The bytes are not those that the job named by sha256 or length. Never retried.
    DigestMismatch,
    /// The object is not there (a 404 from the store). Never retried.
    PictureNotFound,
    /// The parameters do not fit the model or the task. Never retried.
    InvalidParameters,
    /// The runner does not keep this model: as [`Reason::Busy`], since the pool says that it does.
    UnknownModel,
    /// The store did not give the picture in time or in whole. Counted and retried.
    FetchFailed,
    /// The attempt's deadline passed. Counted and retried.
    DeadlineExceeded,
    /// The device ran out of memory. Counted and retried.
    OutOfMemory,
    /// The model failed on this picture. Counted and retried.
    InferenceFailed,
    /// The device failed under this picture's pass, and the runner ends: as a lost runner.
    DeviceLost,
    /// No free slot: nothing was begun, the job goes back to its queue at no cost.
    Busy,
    /// The runner is not ready, or is draining: as [`Reason::Busy`].
    NotReady,
    /// The request came from a leader of a lower epoch than the runner has seen.
    StaleEpoch,
    /// The bearer token is missing or wrong.
    Unauthorized,
    /// The request itself is not one of this protocol.
    MalformedRequest,
    /// A reason that this build does not know (the peer is newer).
    #[serde(other)]
    Unknown,
}

impl Reason {
    /// The name as it stands in problems, for labels.
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

    /// Whether another attempt can end differently.
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

    /// The HTTP status of a response that is this problem.
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

    /// The problem's title, one for each reason.
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
    /// A short sentence, the same for every problem of one reason.
    pub title: String,
    /// The HTTP status, also inside a stream whose own status was 200.
    pub status: u16,
    /// What was wrong this time and what to do about it.
    pub detail: String,
    /// Why, for programs.
    pub reason: Reason,
    /// Whether another attempt can end differently.
    pub retryable: bool,
}

impl Problem {
    /// A problem for `reason`, with `detail` said to the user.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("urn:fovea:problem:{reason:?}"),
            title: reason.title().to_owned(),
            status: reason.status(),
            detail: detail.into(),
            reason,
            retryable: reason.retryable(),
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
}
