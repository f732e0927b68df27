//! A collector of spans, as `OTEL_EXPORTER_OTLP_ENDPOINT` names it.

use crate::served::serve;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use std::sync::{Arc, Mutex};
use tokio_util::task::AbortOnDropHandle;

/// Bodies of the exports, one for each request.
type Exported = Arc<Mutex<Vec<Bytes>>>;

pub struct Collector {
    /// The environment variable for programs.
    pub env: (&'static str, String),
    exported: Exported,
    _serving: AbortOnDropHandle<()>,
}

impl Collector {
    pub async fn start() -> anyhow::Result<Self> {
        let exported = Exported::default();
        let take = |State(exported): State<Exported>, body: Bytes| async move {
            exported.lock().expect("not poisoned").push(body);
        };
        let routes = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&exported));
        let (endpoint, serving) = serve(routes).await?;
        Ok(Self {
            env: ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            exported,
            _serving: serving,
        })
    }

    /// Whether these bytes were among what was sent: a text, or a span's id.
    pub fn has(&self, bytes: &[u8]) -> bool {
        self.has_both(bytes, bytes)
    }

    /// Whether both were sent in one request, which is that of one program.
    pub fn has_both(&self, one: &[u8], other: &[u8]) -> bool {
        let exported = self.exported.lock().expect("not poisoned");
        let has = |body: &Bytes, bytes: &[u8]| body.windows(bytes.len()).any(|it| it == bytes);
        (exported.iter()).any(|body| has(body, one) && has(body, other))
    }
}
