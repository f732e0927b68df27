//! The routes, one file per family.

pub mod batches;
pub mod compat;
pub(crate) mod health;
pub mod jobs;
pub mod metrics;
pub mod pools;
mod prefer;
mod query;

use crate::error::{Problem, ProblemType};
use http::{Method, Uri};

pub(crate) const JOBS: &str = "/v1/jobs";
pub(crate) const JOB: &str = "/v1/jobs/{id}";
pub(crate) const JOB_EVENTS: &str = "/v1/jobs/{id}/events";
pub(crate) const JOB_CANCEL: &str = "/v1/jobs/{id}/cancel";
pub(crate) const JOB_INPUT: &str = "/v1/jobs/{id}/input";
pub(crate) const JOB_RESULT: &str = "/v1/jobs/{id}/result";
pub(crate) const BATCHES: &str = "/v1/batches";
pub(crate) const BATCH: &str = "/v1/batches/{id}";
pub(crate) const BATCH_EVENTS: &str = "/v1/batches/{id}/events";
pub(crate) const BATCH_CANCEL: &str = "/v1/batches/{id}/cancel";
pub(crate) const BATCH_RESULTS: &str = "/v1/batches/{id}/results";
pub(crate) const BATCH_RETRY: &str = "/v1/batches/{id}/retry";
pub(crate) const MODELS: &str = "/v1/models";
pub(crate) const POOLS: &str = "/v1/pools";

/// Characters of a client's path that a problem repeats at most.
const MAX_ECHO: usize = 200;

pub(crate) async fn no_such_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(MAX_ECHO).collect();
    Problem::new(
        ProblemType::NoSuchRoute,
        format!("no route matches {path}: jobs are under {JOBS}, batches under {BATCHES}"),
    )
}

pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(MAX_ECHO).collect();
    let method: String = method.as_str().chars().take(MAX_ECHO).collect();
    Problem::new(
        ProblemType::MethodNotAllowed,
        format!("{path} does not support {method}: the Allow header lists the methods"),
    )
}
