//! `/metrics`: beside the API, or on an address of its own.

use crate::metrics::{CONTENT_TYPE, Metrics};
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use http::header;
use std::sync::Arc;

pub(crate) const METRICS: &str = "/metrics";

pub(crate) fn metrics<S: Clone + Send + Sync + 'static>(metrics: Arc<Metrics>) -> MethodRouter<S> {
    get(move || async move { text(&metrics) })
}

/// The metrics alone, for an address of their own.
pub fn metrics_router(of: Arc<Metrics>) -> Router {
    Router::new().route(METRICS, metrics(of))
}

fn text(metrics: &Metrics) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.text())
}
