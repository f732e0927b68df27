//! `/livez` and `/readyz`. A replica that waits for the lease is ready: it does what it is for.

use axum::{Router, http::StatusCode, routing::get};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What readiness is told from.
#[derive(Clone, Default)]
pub struct Readiness {
    /// This replica holds the lease.
    pub leading: Arc<AtomicBool>,
    /// Its caches are filled and it dispatches.
    pub dispatching: Arc<AtomicBool>,
}

/// Answers probes until `stop`.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let readyz = move || async move {
        let leading = readiness.leading.load(Ordering::Relaxed);
        match (leading, readiness.dispatching.load(Ordering::Relaxed)) {
            (false, _) => (StatusCode::OK, "ok: standing by for the lease\n"),
            (true, true) => (StatusCode::OK, "ok: leading\n"),
            (true, false) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "leading, but the caches are not filled yet\n",
            ),
        }
    };
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz));
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}
