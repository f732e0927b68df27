//! `/livez`: the process answers. `/readyz`: cluster and bucket do, and jobs are known. `/health`: the same for people
//! and dashboards, as JSON. However often they are asked, the dependencies are asked rarely.

use crate::app::AppState;
use crate::error::{Problem, ProblemType};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use fovea_crds::InferenceJob;
use http::StatusCode;
use kube::Api;
use kube::api::ListParams;
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
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    status: &'static str,
    version: &'static str,
    checks: [Check; 3],
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
}

impl Report {
    fn ok(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// As Kubernetes' own components tell it.
    fn lines(&self) -> String {
        let mut text = String::new();
        for Check { name, ok } in &self.checks {
            let (sign, word) = if *ok {
                ('+', "ok")
            } else {
                ('-', "failed: the reason is in the log")
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[{sign}]{name} {word}");
        }
        text
    }
}

pub(crate) async fn livez() -> &'static str {
    "ok"
}

pub(crate) async fn readyz(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<String, Problem> {
    let report = report(&app).await;
    if !report.ok() {
        return Err(Problem::new(ProblemType::NotReady, report.lines().trim_end()).retry_after(2));
    }
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some("verbose"))
    });
    Ok(if verbose {
        format!("{}readyz check passed\n", report.lines())
    } else {
        "ok".to_owned()
    })
}

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
    let cache = app.jobs.is_synced();
    let report = Arc::new(Report {
        status: if cluster && bucket && cache {
            "ok"
        } else {
            "degraded"
        },
        version: env!("CARGO_PKG_VERSION"),
        checks: [
            Check {
                name: "kubernetes",
                ok: cluster,
            },
            Check {
                name: "object-store",
                ok: bucket,
            },
            // That the watch has told of every job once.
            Check {
                name: "cache",
                ok: cache,
            },
        ],
    });
    *latest = Some((Instant::now(), Arc::clone(&report)));
    report
}

/// Whether jobs can be read: that needs the API server, the resource and the rights to it. The
/// answer may come from the API server's cache.
async fn cluster(app: &AppState) -> bool {
    let jobs: Api<InferenceJob> = Api::namespaced(app.client.clone(), &app.config.namespace);
    let one = ListParams::default().limit(1).match_any();
    settled(
        "kubernetes",
        timeout(app.config.timeouts.check(), jobs.list_metadata(&one)).await,
    )
}

async fn bucket(app: &AppState) -> bool {
    settled(
        "object-store",
        timeout(app.config.timeouts.check(), app.store.check()).await,
    )
}

fn settled<T, E: std::fmt::Display>(
    check: &str,
    outcome: Result<Result<T, E>, tokio::time::error::Elapsed>,
) -> bool {
    match outcome {
        Ok(Ok(_)) => return true,
        Ok(Err(error)) => tracing::warn!(check, %error, "health check failed"),
        Err(_) => tracing::warn!(check, "health check got no answer in time"),
    }
    false
}
