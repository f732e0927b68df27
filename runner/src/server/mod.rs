//! The runner's HTTP server: routes, listening and shutdown.

mod admission;
mod attempt;
mod auth;
mod claim;
mod decoders;
mod fetch;
mod infer;
mod installations;
mod keep;
mod kept;
mod listen;
mod memory;
mod models;
mod preprocess;
mod question;
mod questions;
mod reply;
mod shard;
mod shards;
mod state;
mod tls;
mod tokens;

pub use fetch::FetchLimits;
pub use kept::KeepConfig;
pub use listen::{Listener, serve};
pub use shards::ShardsConfig;
pub use state::{App, AppConfig};
pub use tls::{Tls, TlsError};
pub use tokens::{TokenError, Tokens};

use axum::routing::{get, post, put};
use axum::{Router, middleware};
use fovea_protocol::{
    INFER_PATH, LEADER_PATH, MODEL_PATH, MODELS_PATH, QUESTIONS_PATH, SHARDS_PATH,
};
use http::StatusCode;
use std::sync::Arc;

/// All routes. Health and metrics are open; the others require a bearer token if one is set.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(INFER_PATH, post(infer::infer))
        .route(SHARDS_PATH, post(shard::shard))
        .route(QUESTIONS_PATH, post(questions::ask))
        .route(MODELS_PATH, get(models::list))
        .route(MODEL_PATH, put(models::put))
        .route(LEADER_PATH, put(infer::leader))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            auth::require_token,
        ))
        .route("/livez", get(|| async { StatusCode::OK }))
        .route("/readyz", get(state::ready))
        .route("/metrics", get(state::metrics))
        .with_state(app)
}
