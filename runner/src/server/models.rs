//! `/v1/models`: what the runner keeps.

use super::state::App;
use axum::Json;
use axum::extract::State;
use fovea_protocol::RunnerState;
use std::sync::Arc;

/// `GET /v1/models`.
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<RunnerState> {
    Json(app.state())
}
