//! Rule 2, decide: what the API server's response to a create means for the job. Pure.

use super::fingerprint::Fingerprint;
use crate::error::{Problem, ProblemType};
use fovea_crds::InferenceJob;
use fovea_crds::annotations;
use kube::ResourceExt as _;
use std::error::Error as _;
use std::io;

/// Outcome of a create that did not succeed.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    Exists,
    /// The API server read the request and refused it: nothing was created.
    Refused(Refusal),
    /// The request was never sent: nothing was created.
    NotSent(String),
    /// Anything may have happened; the text is the error.
    Lost(String),
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    Quota(String),
    #[error("{0}")]
    NoNamespace(String),
    /// The API server is busy; the client may try again.
    #[error("{0}")]
    Busy(String),
    /// This service lacks rights or is not installed correctly.
    #[error("{0}")]
    Misconfigured(String),
}

pub(crate) fn classify(error: &kube::Error) -> Failure {
    let kube::Error::Api(status) = error else {
        // A refused connection is the one transport error that proves that nothing was sent.
        return if is_refused_connection(error) {
            Failure::NotSent(error.to_string())
        } else {
            Failure::Lost(error.to_string())
        };
    };
    let message = status.message.clone();
    if status.is_already_exists() {
        return Failure::Exists;
    }
    match status.code {
        408 => Failure::Lost(message),
        409 | 429 => Failure::Refused(Refusal::Busy(message)),
        413 | 422 => Failure::Refused(Refusal::Invalid(message)),
        403 if message.contains("exceeded quota") => Failure::Refused(Refusal::Quota(message)),
        // Our own rights are missing, which the client can neither fix nor may read.
        403 if !message.contains("cannot create resource") => {
            Failure::Refused(Refusal::Forbidden(message))
        }
        404 if message.starts_with("namespaces ") => {
            Failure::Refused(Refusal::NoNamespace(message))
        }
        400..=499 => Failure::Refused(Refusal::Misconfigured(message)),
        _ => Failure::Lost(format!("{} {message}", status.code)),
    }
}

fn is_refused_connection(error: &kube::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        cause = error.source();
    }
    false
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Invalid(_) => Self::new(ProblemType::RejectedByCluster, text),
            Refusal::Forbidden(_) => Self::new(ProblemType::RefusedByCluster, text),
            Refusal::Quota(_) => Self::new(
                ProblemType::QuotaExceeded,
                format!("{text}: wait until jobs have ended and been removed"),
            )
            .retry_after(30),
            Refusal::NoNamespace(_) => Self::new(ProblemType::NoSuchNamespace, text),
            Refusal::Busy(_) => Self::new(
                ProblemType::ClusterUnavailable,
                "the cluster is busy, and the job was not created: try again",
            )
            .caused_by(text)
            .retry_after(1),
            Refusal::Misconfigured(_) => Self::internal(text),
        }
    }
}

/// The owner of the object that has our name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Owner {
    /// Made by this request or by an equal one.
    Ours(Box<InferenceJob>),
    /// Bars the name for a request whose create was lost.
    Tombstone,
    /// Made by a different request under the same Idempotency-Key, or by somebody else.
    Other,
}

/// Determines the owner of an object. A tombstone has its request's fingerprint, so that a key stays
/// bound to one request.
pub(crate) fn owner(existing: InferenceJob, ours: &Fingerprint) -> Owner {
    let annotation = |name| existing.annotations().get(name).map(String::as_str);
    if annotation(annotations::FINGERPRINT) != Some(ours.as_str()) {
        Owner::Other
    } else if annotation(annotations::TOMBSTONE).is_some() {
        Owner::Tombstone
    } else {
        Owner::Ours(Box::new(existing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submit::manifest;
    use fovea_crds::Input;
    use kube::core::Status;

    fn api(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    fn transport(kind: io::ErrorKind) -> kube::Error {
        kube::Error::Service(Box::new(io::Error::new(kind, "x")))
    }

    #[test]
    fn only_a_proof_that_nothing_was_created_counts_as_a_failure() {
        use Refusal::{Busy, Forbidden, Invalid, Misconfigured, NoNamespace, Quota};
        let text = |s: &str| s.to_owned();
        for (error, expected) in [
            (api(409, "AlreadyExists", "m"), Failure::Exists),
            (api(409, "Conflict", "m"), Failure::Refused(Busy(text("m")))),
            (
                api(429, "TooManyRequests", "m"),
                Failure::Refused(Busy(text("m"))),
            ),
            (
                api(422, "Invalid", "m"),
                Failure::Refused(Invalid(text("m"))),
            ),
            (
                api(413, "RequestEntityTooLarge", "m"),
                Failure::Refused(Invalid(text("m"))),
            ),
            (
                api(403, "Forbidden", "exceeded quota: q"),
                Failure::Refused(Quota(text("exceeded quota: q"))),
            ),
            (
                api(403, "Forbidden", "denied by policy"),
                Failure::Refused(Forbidden(text("denied by policy"))),
            ),
            (
                api(403, "Forbidden", "User x cannot create resource y"),
                Failure::Refused(Misconfigured(text("User x cannot create resource y"))),
            ),
            (
                api(401, "Unauthorized", "m"),
                Failure::Refused(Misconfigured(text("m"))),
            ),
            (
                api(404, "NotFound", "namespaces \"a\" not found"),
                Failure::Refused(NoNamespace(text("namespaces \"a\" not found"))),
            ),
            (
                api(404, "NotFound", "m"),
                Failure::Refused(Misconfigured(text("m"))),
            ),
            (api(408, "Timeout", "m"), Failure::Lost(text("m"))),
            (api(500, "InternalError", "m"), Failure::Lost(text("500 m"))),
            (
                api(503, "ServiceUnavailable", "m"),
                Failure::Lost(text("503 m")),
            ),
            (api(504, "Timeout", "m"), Failure::Lost(text("504 m"))),
            (api(0, "", "m"), Failure::Lost(text("0 m"))),
        ] {
            assert_eq!(classify(&error), expected, "{error:?}");
        }
        assert!(matches!(
            classify(&transport(io::ErrorKind::ConnectionRefused)),
            Failure::NotSent(_)
        ));
        for kind in [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::TimedOut,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::UnexpectedEof,
        ] {
            assert!(
                matches!(classify(&transport(kind)), Failure::Lost(_)),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn only_the_same_request_s_own_job_counts_as_committed() {
        let request = crate::validate::JobRequest::default().validate().unwrap();
        let source = Input::Object { key: "a".into() };
        let ours = Fingerprint::of(&request, &source).unwrap();
        let theirs = Fingerprint::of(&request, &Input::Object { key: "b".into() }).unwrap();
        let job = manifest::job("n", &request, &source, &ours, &manifest::Origin::OWN);
        assert_eq!(
            owner(job.clone(), &ours),
            Owner::Ours(Box::new(job.clone()))
        );
        // A user may cancel a job: it was committed all the same.
        let mut cancelled = job.clone();
        cancelled.spec.cancel = true;
        assert!(matches!(owner(cancelled, &ours), Owner::Ours(_)));
        assert_eq!(
            owner(manifest::tombstone(job.clone()), &ours),
            Owner::Tombstone
        );
        assert_eq!(owner(job.clone(), &theirs), Owner::Other);
        assert_eq!(
            owner(manifest::tombstone(job.clone()), &theirs),
            Owner::Other
        );
        let mut foreign = job;
        foreign.metadata.annotations = None;
        assert_eq!(owner(foreign, &ours), Owner::Other);
    }

    #[test]
    fn our_own_missing_rights_are_not_shown_to_the_client() {
        let problem = Problem::from(Refusal::Misconfigured("serviceaccount fovea-api".into()));
        assert_eq!(problem.kind, ProblemType::Internal);
        assert!(!problem.detail.contains("fovea-api"));
    }
}
