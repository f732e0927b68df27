//! The trace of a request: its caller's or one of its own, which the job that it makes bears, so that
//! operator and runner can join.

use fovea_telemetry::trace::{TraceParent, rename};
use http::HeaderMap;
use tracing::Span;

tokio::task_local! {
    static CURRENT: TraceParent;
}

/// Puts `span` into the caller's trace, where it is to be called `name`; what callees are told of it.
pub(crate) fn join(span: &Span, name: String, headers: &HeaderMap) -> TraceParent {
    let caller = TraceParent::of(headers);
    if let Some(caller) = caller {
        caller.adopt(span);
    }
    let recorded = TraceParent::recorded(span);
    if recorded.is_some() {
        rename(span, name);
    }
    recorded.unwrap_or_else(|| TraceParent::below(caller))
}

/// Runs a request's future, within which [`current`] is `parent`.
pub(crate) async fn scope<F: Future>(parent: TraceParent, request: F) -> F::Output {
    CURRENT.scope(parent, request).await
}

/// The trace of the request that is being answered.
pub(crate) fn current() -> Option<TraceParent> {
    CURRENT.try_with(|parent| *parent).ok()
}
