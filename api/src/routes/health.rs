//! `/livez`: the process answers. `/readyz`: cluster and bucket do, and jobs are known. `/health`: the same for people
//! and dashboards, as JSON. However often they are asked, the dependencies are asked rarely.

use crate::app::AppState;
use crate::error::{Problem, ProblemType};
use crate::openapi::problem_set;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use fovea_crds::InferenceJob;
use http::StatusCode;
use kube::Api;
use kube::api::ListParams;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The latest report; its lock lets one caller at a time make a new one.
#[derive(Default)]
pub(crate) struct Checks {
    latest: Mutex<Option<(Instant, Arc<Report>)>>,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(crate) struct Report {
    /// `ok` or `degraded`.
    status: &'static str,
    /// Fovea's.
    version: &'static str,
    /// What the service stands on.
    checks: [Check; 3],
}

/// One thing that the service stands on.
#[derive(Debug, Serialize, JsonSchema)]
struct Check {
    /// `kubernetes` or `object-store`.
    name: &'static str,
    /// Whether it answers as it should.
    ok: bool,
    /// Why not, for `/readyz?verbose` alone.
    #[serde(skip)]
    reason: Option<String>,
}

impl Check {
    fn new(name: &'static str, outcome: Result<(), String>) -> Self {
        let reason = outcome.err();
        Self {
            name,
            ok: reason.is_none(),
            reason,
        }
    }
}

impl Report {
    fn ok(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// As Kubernetes' own components tell it.
    fn lines(&self, verbose: bool) -> String {
        let mut text = String::new();
        for Check { name, reason, .. } in &self.checks {
            let (sign, word) = match reason {
                None => ('+', "ok".to_owned()),
                Some(reason) if verbose => ('-', format!("failed: {reason}")),
                Some(_) => ('-', "failed: ask /readyz?verbose for the reason".to_owned()),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[{sign}]{name} {word}");
        }
        text
    }
}

problem_set!(ReadyProblems: NotReady);

/// Whether the process answers.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "livez",
    tag = "health",
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain")),
)]
pub(crate) async fn livez() -> &'static str {
    "ok"
}

/// Whether cluster and object store answer.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "health",
    params(("verbose" = Option<String>, Query, description = "One line a check; its value says nothing.")),
    responses(
        (status = 200, description = "They do.", body = String, content_type = "text/plain"),
        ReadyProblems,
    ),
)]
pub(crate) async fn readyz(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<String, Problem> {
    let report = report(&app).await;
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some("verbose"))
    });
    let lines = report.lines(verbose);
    if !report.ok() {
        return Err(Problem::new(ProblemType::NotReady, lines.trim_end()).retry_after(2));
    }
    Ok(if verbose {
        format!("{lines}readyz check passed\n")
    } else {
        "ok".to_owned()
    })
}

/// The same for people and dashboards.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "health",
    responses(
        (status = 200, description = "All is well.", body = ref("#/components/schemas/Health")),
        (status = 503, description = "Something is not.", body = ref("#/components/schemas/Health")),
    ),
)]
pub(crate) async fn health(State(app): State<AppState>) -> Response {
    let report = report(&app).await;
    let status = if report.ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(&*report)).into_response()
}

/// A report that is no older than a check may last.
async fn report(app: &AppState) -> Arc<Report> {
    let mut latest = app.checks.latest.lock().await;
    if let Some((at, report)) = &*latest
        && at.elapsed() < app.config.timeouts.check()
    {
        return Arc::clone(report);
    }
    let (cluster, bucket) = tokio::join!(cluster(app), bucket(app));
    let unsynced = || "the watch has not told of every job yet".to_owned();
    let cache = app.jobs.is_synced().then_some(()).ok_or_else(unsynced);
    let report = Arc::new(Report {
        status: if cluster.is_ok() && bucket.is_ok() && cache.is_ok() {
            "ok"
        } else {
            "degraded"
        },
        version: env!("CARGO_PKG_VERSION"),
        checks: [
            Check::new("kubernetes", cluster),
            Check::new("object-store", bucket),
            Check::new("cache", cache),
        ],
    });
    *latest = Some((Instant::now(), Arc::clone(&report)));
    report
}

/// Whether jobs can be read: that needs the API server, the resource and the rights to it. The
/// answer may come from the API server's cache.
async fn cluster(app: &AppState) -> Result<(), String> {
    let jobs: Api<InferenceJob> = Api::namespaced(app.client.clone(), &app.config.namespace);
    let one = ListParams::default().limit(1).match_any();
    settled(
        "kubernetes",
        timeout(app.config.timeouts.check(), jobs.list_metadata(&one)).await,
    )
    // The API server's words name users, which are not everybody's to read.
    .map_err(|_| "the reason is in the log".to_owned())
}

async fn bucket(app: &AppState) -> Result<(), String> {
    settled(
        "object-store",
        timeout(app.config.timeouts.check(), app.store.check()).await,
    )
}

fn settled<T, E: std::fmt::Display>(
    check: &str,
    outcome: Result<Result<T, E>, tokio::time::error::Elapsed>,
) -> Result<(), String> {
    let reason = match outcome {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(check, reason, "health check failed");
    Err(reason)
}
