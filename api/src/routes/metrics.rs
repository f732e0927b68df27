//! `/metrics`: beside the API, or on an address of its own.

use crate::metrics::{CONTENT_TYPE, Metrics};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use http::header;
use std::sync::Arc;

pub(crate) const METRICS: &str = "/metrics";

pub(crate) fn metrics<S: Clone + Send + Sync + 'static>(metrics: Arc<Metrics>) -> MethodRouter<S> {
    get(move || async move { text(&metrics) })
}

fn text(metrics: &Metrics) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.text())
}
