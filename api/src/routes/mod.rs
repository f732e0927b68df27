//! What is served, one file a family.

pub mod compat;
pub(crate) mod health;
pub mod jobs;
pub mod metrics;
pub mod pools;
mod prefer;
mod query;

use crate::error::{Problem, ProblemType};
use http::{Method, Uri};

/// Path of all jobs.
pub(crate) const JOBS: &str = "/v1/jobs";
/// Path of one job.
pub(crate) const JOB: &str = "/v1/jobs/{id}";
/// Path of one job's changes.
pub(crate) const JOB_EVENTS: &str = "/v1/jobs/{id}/events";
/// Path of one job's end.
pub(crate) const JOB_CANCEL: &str = "/v1/jobs/{id}/cancel";
/// Path of one job's picture.
pub(crate) const JOB_INPUT: &str = "/v1/jobs/{id}/input";
/// Path of one job's whole result.
pub(crate) const JOB_RESULT: &str = "/v1/jobs/{id}/result";
/// Path of all models.
pub(crate) const MODELS: &str = "/v1/models";
/// Path of all pools.
pub(crate) const POOLS: &str = "/v1/pools";

/// Most of a client's path that is repeated to it.
const MAX_ECHO: usize = 200;

pub(crate) async fn no_such_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(MAX_ECHO).collect();
    Problem::new(
        ProblemType::NoSuchRoute,
        format!("nothing is served under {path}: jobs are under {JOBS}"),
    )
}

pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(MAX_ECHO).collect();
    let method: String = method.as_str().chars().take(MAX_ECHO).collect();
    Problem::new(
        ProblemType::MethodNotAllowed,
        format!("{path} does not know {method}: the Allow header names what it knows"),
    )
}
