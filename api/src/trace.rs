//! W3C trace context: a request goes on with the caller's trace or begins one, and the job that it
//! makes bears it, so that operator and runner can join.

use http::{HeaderMap, HeaderName};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use std::fmt;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

/// <https://www.w3.org/TR/trace-context/#traceparent-header>
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

tokio::task_local! {
    static CURRENT: TraceParent;
}

/// What a callee is told: the trace, the span that called, and whether it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl TraceParent {
    /// The caller's, if it sent a valid one.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        let hex = |text: &str, digits: usize| {
            let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            text.len() == digits && text.bytes().all(lower)
        };
        let mut fields = value.split('-');
        let (version, trace, span, flags) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        // A later version may append fields; 00 has four.
        let whole = fields.next().is_none() || version != "00";
        let formed = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        if !whole || !formed || version == "ff" {
            return None;
        }
        let parent = Self {
            trace: TraceId::from_hex(trace).ok()?,
            span: SpanId::from_hex(span).ok()?,
            flags: TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1),
        };
        parent.context().is_valid().then_some(parent)
    }

    /// A span of our own in the caller's trace, or in a new one, where nothing records spans here.
    fn below(caller: Option<Self>) -> Self {
        let random = || {
            u64::from_be_bytes(
                Uuid::new_v4().as_bytes()[..8]
                    .try_into()
                    .unwrap_or_default(),
            )
        };
        Self {
            trace: caller.map_or_else(
                || TraceId::from_bytes(*Uuid::new_v4().as_bytes()),
                |caller| caller.trace,
            ),
            span: SpanId::from_bytes(random().to_be_bytes()),
            // Who records further down decides; a caller that does not wish it is heeded.
            flags: caller.map_or(TraceFlags::SAMPLED, |caller| caller.flags),
        }
    }

    fn context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, self.flags, true, TraceState::NONE)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace}-{span}-{flags:02x}")
    }
}

/// Puts `span` into the caller's trace, where it is to be called `name`; what callees are told of it.
pub(crate) fn join(span: &Span, name: String, headers: &HeaderMap) -> TraceParent {
    let caller = TraceParent::of(headers);
    if let Some(caller) = caller {
        let context = opentelemetry::Context::new().with_remote_span_context(caller.context());
        // The error says that spans are not exported.
        let _ = span.set_parent(context);
    }
    let context = span.context();
    let recorded = context.span().span_context().clone();
    if recorded.is_valid() {
        context.span().update_name(name);
        TraceParent {
            trace: recorded.trace_id(),
            span: recorded.span_id(),
            flags: recorded.trace_flags(),
        }
    } else {
        TraceParent::below(caller)
    }
}

/// Runs a request's future, within which [`current`] is `parent`.
pub(crate) async fn scope<F: Future>(parent: TraceParent, request: F) -> F::Output {
    CURRENT.scope(parent, request).await
}

/// The trace of the request that is being answered.
pub(crate) fn current() -> Option<TraceParent> {
    CURRENT.try_with(|parent| *parent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        TraceParent::of(&headers).map(|parent| parent.to_string())
    }

    #[test]
    fn a_caller_s_trace_is_read_as_the_standard_says() {
        assert_eq!(of(CALLER).as_deref(), Some(CALLER));
        // Flags that are not known are not passed on, and a later version is read as this one.
        assert_eq!(of(&CALLER.replace("-01", "-ff")).as_deref(), Some(CALLER));
        assert_eq!(
            of(&CALLER.replacen("00-", "cc-", 1)).as_deref(),
            Some(CALLER)
        );
        assert_eq!(
            of(&format!("{}-x", CALLER.replacen("00-", "cc-", 1))).as_deref(),
            Some(CALLER)
        );
        for wrong in [
            "",
            "00",
            &CALLER.to_uppercase(),
            &CALLER.replacen("00-", "ff-", 1),
            &format!("{CALLER}-x"),
            &CALLER[..54],
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_request_is_a_span_of_its_own_in_its_caller_s_trace() {
        let mut headers = HeaderMap::new();
        let alone = join(&Span::none(), String::new(), &headers).to_string();
        assert_eq!(of(&alone).as_deref(), Some(alone.as_str()));
        assert_ne!(
            join(&Span::none(), String::new(), &headers).to_string(),
            alone
        );

        headers.insert(TRACEPARENT, HeaderValue::from_static(CALLER));
        let joined = join(&Span::none(), String::new(), &headers).to_string();
        assert_eq!(joined[..36], CALLER[..36]);
        assert_ne!(joined[36..52], CALLER[36..52]);
        assert_eq!(of(&joined).as_deref(), Some(joined.as_str()));
    }
}
