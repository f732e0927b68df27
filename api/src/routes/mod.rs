//! The routes, one file per family.

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
/// Path of one job's events.
pub(crate) const JOB_EVENTS: &str = "/v1/jobs/{id}/events";
/// Path that cancels one job.
pub(crate) const JOB_CANCEL: &str = "/v1/jobs/{id}/cancel";
/// Path of one job's picture.
pub(crate) const JOB_INPUT: &str = "/v1/jobs/{id}/input";
/// Path of one job's whole result.
pub(crate) const JOB_RESULT: &str = "/v1/jobs/{id}/result";
/// Path of all models.
pub(crate) const MODELS: &str = "/v1/models";
/// Path of all pools.
pub(crate) const POOLS: &str = "/v1/pools";

/// Characters of a client's path that a problem repeats at most.
const MAX_ECHO: usize = 200;

pub(crate) async fn no_such_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(MAX_ECHO).collect();
    Problem::new(
        ProblemType::NoSuchRoute,
        format!("no route matches {path}: jobs are under {JOBS}"),
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
