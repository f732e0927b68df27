//! `POST /v1/infer` and `PUT /v1/leader`: the checks before any work begins.

use super::attempt::{self, Attempt};
use super::fetch::parse_url;
use super::installations::Sender;
use super::reply::{lines_response, problem_response};
use super::state::App;
use crate::engine::{Residency, Served};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use fovea_protocol::{
    InferRequest, LeaderRequest, MAX_REQUEST_BYTES, Problem, Reason, Source, Task,
};
use fovea_telemetry::trace::TraceParent;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time for a request's body to arrive.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest deadline, a week; a much longer one would overflow the clock.
const MAX_DEADLINE: Duration = Duration::from_hours(7 * 24);

/// `POST /v1/infer`: answers with a problem, or with the lines of one attempt.
pub(super) async fn infer(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    match begin(&app, &headers, body).await {
        Ok(attempt) => lines_response(attempt::start(app, attempt)),
        Err(problem) => {
            app.metrics.refusal(problem.reason);
            problem_response(&problem)
        }
    }
}

/// `PUT /v1/leader`: 204, or 409 if a leader of a higher epoch was here before, or another of this one.
pub(super) async fn leader(
    State(app): State<Arc<App>>,
    body: Body,
) -> Result<StatusCode, Response> {
    let observe = async {
        let LeaderRequest {
            installation,
            epoch,
            holder,
        } = read(body, MAX_REQUEST_BYTES).await?;
        app.admissions.observe(Sender {
            installation: &installation,
            epoch,
            holder: holder.as_deref(),
        })
    };
    match observe.await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(problem) => Err(problem_response(&problem)),
    }
}

async fn begin(app: &App, headers: &HeaderMap, body: Body) -> Result<Attempt, Problem> {
    let arrived = Instant::now();
    let request: InferRequest = read(body, MAX_REQUEST_BYTES).await?;
    if let Some(problem) = app.draining() {
        return Err(problem);
    }
    // First, so that a leader of a lower epoch gets no other answer.
    (app.admissions).observe(Sender::of(&request.installation, request.epoch))?;
    let model = ready_model(app, &request.model, request.task)?;
    let query = model.front.head.query(&request.parameters)?;
    if let Source::Url(url) = &request.input.source {
        parse_url(url)?;
    }
    let admission = app.admissions.admit(&request)?;
    let deadline = bounded(request.deadline_millis);
    Ok(Attempt {
        admission: Arc::new(admission),
        arrived,
        deadline: arrived + deadline,
        model,
        query,
        request,
        caller: TraceParent::of(headers),
    })
}

/// A request's duration, at most a week.
pub(super) fn bounded(millis: u64) -> Duration {
    Duration::from_millis(millis).min(MAX_DEADLINE)
}

/// The model of a request, if it is ready and does the task.
pub(super) fn ready_model(app: &App, name: &str, task: Task) -> Result<Arc<Served>, Problem> {
    let models = app.engine.models();
    let found = models.iter().find(|model| model.name == name);
    let Some(model) = found.cloned() else {
        let names: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
        let why = format!("this runner has the models {}", names.join(", "));
        return Err(Problem::new(Reason::UnknownModel, why));
    };
    if let Some(problem) = not_ready(&model) {
        return Err(problem);
    }
    if model.front.head.task() != task {
        let why = format!("the model \"{name}\" is for another task");
        return Err(Problem::new(Reason::InvalidParameters, why));
    }
    Ok(model)
}

/// The problem of a model that is not ready.
fn not_ready(model: &Served) -> Option<Problem> {
    let why = match model.residency() {
        Residency::Ready { .. } => return None,
        Residency::Loading => "the runner is loading this model".to_owned(),
        Residency::Failed { why } => format!("the runner could not load this model: {why}"),
    };
    Some(Problem::new(Reason::NotReady, why))
}

/// Parses a request's body as JSON, bounded in size and time.
pub(super) async fn read<T: DeserializeOwned>(body: Body, max_bytes: usize) -> Result<T, Problem> {
    let malformed = |why: String| Problem::new(Reason::MalformedRequest, why);
    let bytes = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, max_bytes))
        .await
        .map_err(|_| malformed(format!("the body did not arrive within {BODY_TIMEOUT:?}")))?
        .map_err(|error| {
            malformed(format!(
                "the body could not be read, or has more than {max_bytes} bytes: {error}"
            ))
        })?;
    serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))
}
