//! What passes by itself is tried again, within one bound for all requests together.

use std::time::{Duration, Instant};

/// How long all that passes is waited for: a definition made seconds ago, rights that the API server
/// has not taken in yet, an API server that restarts.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(1);
/// How long one request may take.
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

    /// The answer to a request; the first error that does not pass, or is still there at the end.
    /// `what`: for the log.
    pub(super) async fn run<T, F>(&self, what: &str, request: impl Fn() -> F) -> kube::Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let mut logged = String::new();
        loop {
            let answer = tokio::time::timeout(LIMIT, request()).await;
            let error = match answer.unwrap_or_else(|_| Err(silence())) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !is_passing(&error) || Instant::now() >= self.until {
                return Err(error);
            }
            let why = words(&error);
            if why != logged {
                tracing::warn!("{what}: {why}; trying again");
                logged = why;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn silence() -> kube::Error {
    let why = format!("no answer within {} s", LIMIT.as_secs());
    kube::Error::Service(why.into())
}

/// Whether the same request may do better in a moment.
fn is_passing(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        // Whatever is wrong with the way to the API server.
        return true;
    };
    match status.code {
        // The resource's type: an object that is not there is named.
        404 => (status.details.as_ref()).is_none_or(|details| details.name.is_empty()),
        // By RBAC, whose roles take a moment; admission and quotas say other words.
        403 => status.message.contains(" cannot "),
        // A definition that is just being deleted, too many requests.
        405 | 429 => true,
        // It says so of a field that there is not, as if it were its own defect.
        500 => !status.message.contains("field not declared in schema"),
        code => code > 500,
    }
}

/// The API server's words without the rest of its answer.
pub(super) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
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
    fn what_the_api_server_is_not_ready_for_passes() {
        for error in [
            answered(404, "the server could not find the requested resource", ""),
            answered(404, "404 page not found", ""),
            answered(403, "User \"x\" cannot patch resource \"runnerpools\"", "a"),
            answered(429, "too many requests", ""),
            answered(503, "shutting down", ""),
            silence(),
        ] {
            assert!(is_passing(&error), "{error}");
        }
    }

    #[test]
    fn what_somebody_must_mend_does_not() {
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
            assert!(!is_passing(&error), "{error}");
        }
    }
}
