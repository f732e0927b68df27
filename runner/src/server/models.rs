//! `/v1/models`: lists the models of the runner, and adds or replaces one.

use super::infer::read;
use super::installations::Sender;
use super::keep;
use super::reply::problem_response;
use super::state::App;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use fovea_protocol::{MAX_MODEL_REQUEST_BYTES, ModelRequest, Problem, Reason, RunnerState};
use http::StatusCode;
use std::sync::Arc;

/// Longest name of a model, as in a `RunnerPool`.
const MAX_NAME_BYTES: usize = 63;

/// Answers `GET /v1/models`: the runner's state.
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<RunnerState> {
    Json(app.state())
}

/// `PUT /v1/models/{name}`: 202 with the runner's state, which includes the model from now on.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<RunnerState>), Response> {
    let begin = async {
        let request: ModelRequest = read(body, MAX_MODEL_REQUEST_BYTES).await?;
        if let Some(problem) = app.draining() {
            return Err(problem);
        }
        app.admissions.observe(Sender {
            installation: &request.installation,
            epoch: request.epoch,
            holder: None,
        })?;
        if !is_name(&name) {
            let why = format!(
                "a model's name must have 1 to {MAX_NAME_BYTES} lower-case letters, digits or `-`"
            );
            return Err(Problem::new(Reason::MalformedRequest, why));
        }
        keep::put(&app, &name, request)
    };
    match begin.await {
        Ok(()) => Ok((StatusCode::ACCEPTED, Json(app.state()))),
        Err(problem) => Err(problem_response(&problem)),
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(plain)
}
