//! Retries temporary errors, within one time limit for all requests together.

use crate::pool::applier::server_message;
use std::time::{Duration, Instant};

/// Time limit of all retries: for a CRD that is not served yet, rights that are not in effect yet, or an
/// API server that restarts.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(15);

pub(super) struct Tries {
    until: Instant,
}

impl Tries {
    pub(super) fn begin() -> Self {
        Self {
            until: Instant::now() + PATIENCE,
        }
    }

    /// The answer to a request; or its first permanent error, or the last one within the time limit.
    /// `what` names the request in the log.
    pub(super) async fn run<T, F>(&self, what: &str, request: impl Fn() -> F) -> kube::Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let mut logged = String::new();
        loop {
            let answer = tokio::time::timeout(LIMIT, request()).await;
            let error = match answer.unwrap_or_else(|_| Err(timed_out())) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !is_temporary(&error) || Instant::now() >= self.until {
                return Err(error);
            }
            let why = server_message(&error);
            if why != logged {
                tracing::warn!("{what}: {why}; trying again");
                logged = why;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn timed_out() -> kube::Error {
    let why = format!("no answer within {} s", LIMIT.as_secs());
    kube::Error::Service(why.into())
}

fn is_temporary(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        // The API server cannot be reached.
        return true;
    };
    match status.code {
        // The resource's type is missing; for a missing object the answer has its name.
        404 => (status.details.as_ref()).is_none_or(|details| details.name.is_empty()),
        // Refused by RBAC, whose roles take effect late; admission and quotas have other messages.
        403 => status.message.contains(" cannot "),
        // A CRD that is being deleted, or too many requests.
        405 | 429 => true,
        // The API server also answers 500 for an unknown field, which is permanent.
        500 => !status.message.contains("field not declared in schema"),
        code => code > 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use serde_json::json;

    fn answered(code: u16, message: &str, name: &str) -> kube::Error {
        let status = json!({"code": code, "message": message, "details": {"name": name}});
        let status: Status = serde_json::from_value(status).unwrap();
        kube::Error::Api(Box::new(status))
    }

    #[test]
    fn errors_of_an_api_server_that_is_not_ready_are_temporary() {
        for error in [
            answered(404, "the server could not find the requested resource", ""),
            answered(404, "404 page not found", ""),
            answered(403, "User \"x\" cannot patch resource \"runnerpools\"", "a"),
            answered(429, "too many requests", ""),
            answered(503, "shutting down", ""),
            timed_out(),
        ] {
            assert!(is_temporary(&error), "{error}");
        }
    }

    #[test]
    fn errors_that_a_user_must_fix_are_permanent() {
        for error in [
            answered(
                422,
                "spec: Invalid value: give either replicas or autoscaling",
                "a",
            ),
            answered(404, "namespaces \"x\" not found", "x"),
            answered(403, "exceeded quota: pools", "a"),
            answered(403, "ValidatingAdmissionPolicy 'p' denied request: no", "a"),
            answered(
                500,
                "failed to create typed patch object: .spec.replica: field not declared in schema",
                "a",
            ),
            answered(400, "bad", ""),
        ] {
            assert!(!is_temporary(&error), "{error}");
        }
    }
}
