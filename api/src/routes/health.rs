//! `/livez`: the process answers. `/readyz`: the cluster answers, the watch works and has listed all jobs,
//! and the bucket has answered at least once. `/health`: every check passes, as JSON.

use crate::error::{Problem, ProblemType};
use crate::health::Report;
use crate::openapi::problem_set;
use crate::state::AppState;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use schemars::SchemaGenerator;

/// Adds the schemas that the descriptions of these routes refer to.
pub(crate) fn schemas(generator: &mut SchemaGenerator) {
    generator.subschema_for::<Report>();
}

problem_set!(ReadyProblems: NotReady);

/// Check that the process answers requests.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "livez",
    tag = "health",
    responses((status = 200, description = "The process answers.", body = String, content_type = "text/plain")),
)]
pub(crate) async fn livez() -> &'static str {
    "ok"
}

/// Whether requests can be answered: at least reads, while the object store is down.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "health",
    params(("verbose" = Option<String>, Query, description = "Answer one line per check; the value is ignored.")),
    responses(
        (status = 200, description = "Reads are answered; with `verbose`, whether the object store answers, too.", body = String, content_type = "text/plain"),
        ReadyProblems,
    ),
)]
pub(crate) async fn readyz(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<String, Problem> {
    if app.draining.is_cancelled() {
        return Err(Problem::new(ProblemType::NotReady, "the service stops").retry_after(2));
    }
    let report = app.checks.report().await;
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some("verbose"))
    });
    let lines = report.lines(verbose);
    if !report.is_ready() {
        return Err(Problem::new(ProblemType::NotReady, lines.trim_end()).retry_after(2));
    }
    Ok(if verbose {
        format!("{lines}readyz check passed\n")
    } else {
        "ok".to_owned()
    })
}

/// The outcome of all checks as JSON.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "health",
    responses(
        (status = 200, description = "All checks passed.", body = ref("#/components/schemas/Health")),
        (status = 503, description = "A check failed.", body = ref("#/components/schemas/Health")),
    ),
)]
pub(crate) async fn health(State(app): State<AppState>) -> Response {
    let report = app.checks.report().await;
    let status = if report.ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(&*report)).into_response()
}
