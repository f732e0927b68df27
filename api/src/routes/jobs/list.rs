//! `GET /v1/jobs`: a page of jobs, batches among them, filtered by phase and task. Pages come in the order of the jobs'
//! names, not of their age.

use super::JobView;
use super::description::ListProblems;
use super::token::ContinueToken;
use crate::auth::Tenant;
use crate::error::Problem;
use crate::jobs::{Filter, Page, foreign_token};
use crate::routes::JOBS;
use crate::routes::query::Query;
use crate::state::{App, AppState};
use crate::validate::{FieldError, excerpt, task};
use axum::Json;
use axum::extract::State;
use fovea_crds::Phase;
use http::Uri;
use schemars::JsonSchema;
use serde::Serialize;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;
const PARAMETERS: &str = "phase, task, limit, continue";

/// One page of a namespace's jobs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobList {
    /// At most `limit` jobs; a page that is not the last can have fewer, or none.
    pub jobs: Vec<JobView>,
    /// The value of `continue` for the next page; null on the last page.
    pub r#continue: Option<String>,
}

/// List jobs, batches among them.
#[utoipa::path(
    get,
    path = JOBS,
    operation_id = "listJobs",
    tag = "jobs",
    params(
        ("phase" = Option<String>, Query, description = "Only jobs in this phase."),
        ("task" = Option<String>, Query, description = "Only jobs of this task."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Jobs per page; 50 by default."),
        ("continue" = Option<String>, Query, description = "The value of `continue` in the previous page."),
    ),
    responses(
        (status = 200, description = "A page of jobs.", body = ref("#/components/schemas/JobList")),
        ListProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    tenant: Tenant,
    uri: Uri,
) -> Result<Json<JobList>, Problem> {
    let (jobs, r#continue) = page(&app, &tenant, &uri, false).await?;
    Ok(Json(JobList { jobs, r#continue }))
}

/// The page that a request asks for, of all jobs or of batches only, and the value of `continue`.
pub(crate) async fn page(
    app: &App,
    tenant: &Tenant,
    uri: &Uri,
    batches: bool,
) -> Result<(Vec<JobView>, Option<String>), Problem> {
    let query = Query::of(uri, PARAMETERS)?;
    let limit = query.get("limit").map_or(Ok(DEFAULT_LIMIT), limit)?;
    let requested = Filter {
        phase: query.get("phase").map(phase).transpose()?,
        task: query.get("task").map(task).transpose()?,
        batches,
    };
    let unfiltered = Filter {
        batches,
        ..Filter::default()
    };
    let (filter, after) = match query.get("continue") {
        None => (requested, None),
        Some(token) => {
            let (filter, after) = ContinueToken::decode(token, &tenant.namespace)?;
            // The first page's filter applies; a repeated one must be equal.
            let differs = requested != unfiltered && requested != filter;
            if differs || filter.batches != batches {
                return Err(foreign_token());
            }
            (filter, Some(after))
        }
    };
    let Page {
        jobs,
        next,
        reserved: _reserved,
    } = app.jobs.list(tenant, filter, limit, after).await?;
    let next = next.map(|after| ContinueToken::new(&tenant.namespace, filter, after).encode());
    Ok((jobs.iter().map(JobView::of).collect(), next.transpose()?))
}

fn phase(name: &str) -> Result<Phase, FieldError> {
    Ok(match name {
        "Pending" => Phase::Pending,
        "Running" => Phase::Running,
        "Succeeded" => Phase::Succeeded,
        "Failed" => Phase::Failed,
        "Cancelled" => Phase::Cancelled,
        _ => {
            return Err(FieldError::Invalid {
                name: "phase",
                why: format!(
                    "{:?} is unknown: it is one of Pending, Running, Succeeded, Failed, Cancelled",
                    excerpt(name)
                ),
            });
        }
    })
}

fn limit(text: &str) -> Result<u32, FieldError> {
    let wrong = || FieldError::Invalid {
        name: "limit",
        why: format!("1 to {MAX_LIMIT}, not {:?}", excerpt(text)),
    };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number
        .filter(|number| (1..=MAX_LIMIT).contains(number))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_from_1_to_500() {
        assert_eq!((limit("1"), limit("500")), (Ok(1), Ok(500)));
        for wrong in ["", "0", "501", "-1", "+5", "1.0", "ten", "99999999999"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
