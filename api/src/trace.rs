//! The trace of a request: its caller's, or a new one. It is recorded in the created job, so that
//! the operator's and the runner's spans join it.

use fovea_telemetry::trace::{TraceParent, rename};
use http::HeaderMap;
use tracing::Span;

tokio::task_local! {
    static CURRENT: TraceParent;
}

/// Puts `span` into the caller's trace under `name`, and returns the `traceparent` for callees.
pub(crate) fn join(
    span: &Span,
    name: String,
    headers: &HeaderMap,
    callers_are_trusted: bool,
) -> TraceParent {
    let caller = TraceParent::of(headers);
    match caller {
        Some(caller) if callers_are_trusted => caller.adopt(span),
        // The request is not authenticated yet.
        Some(caller) => caller.adopt_untrusted(span),
        None => {}
    }
    let recorded = TraceParent::recorded(span);
    if recorded.is_some() {
        rename(span, name);
    }
    recorded.unwrap_or_else(|| TraceParent::below(caller))
}

/// Runs a request's future with `parent` as its [`current`] trace.
pub(crate) async fn scope<F: Future>(parent: TraceParent, request: F) -> F::Output {
    CURRENT.scope(parent, request).await
}

/// The trace of the request that this task answers.
pub(crate) fn current() -> Option<TraceParent> {
    CURRENT.try_with(|parent| *parent).ok()
}
