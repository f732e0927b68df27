//! W3C trace context. It joins a request, the job that it creates, an attempt and the runner's work
//! into one trace.

use crate::sampler::Untrusted;
use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use std::fmt;
use std::str::FromStr;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Name of the header: <https://www.w3.org/TR/trace-context/#traceparent-header>
pub const TRACEPARENT: &str = "traceparent";

/// A `traceparent`: the trace, the calling span, and whether it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

/// Text that is not a `traceparent`, or one with a trace or span of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
pub struct NoTraceParent;

impl TraceParent {
    /// The `traceparent` in `headers`; `None` if there is none, several, or an invalid one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        value.parse().ok()
    }

    /// The `traceparent` of `span`; `None` if spans are not exported.
    pub fn recorded(span: &Span) -> Option<Self> {
        let context = span.context();
        let own = context.span().span_context().clone();
        own.is_valid().then(|| Self {
            trace: own.trace_id(),
            span: own.span_id(),
            flags: own.trace_flags(),
        })
    }

    /// A new span that is not recorded, in the caller's trace or in a new one.
    pub fn below(caller: Option<Self>) -> Self {
        let ids = RandomIdGenerator::default();
        Self {
            trace: caller.map_or_else(|| ids.new_trace_id(), |caller| caller.trace),
            span: ids.new_span_id(),
            // A callee that records decides for itself; a caller's refusal is passed on.
            flags: caller.map_or(TraceFlags::SAMPLED, |caller| caller.flags),
        }
    }

    /// Makes this span the parent of `span`, which is recorded if this one is.
    pub fn adopt(self, span: &Span) {
        self.adopt_in(&Context::new(), span);
    }

    /// Makes this span the parent of `span`. That the caller records its own does not make `span` recorded.
    pub fn adopt_untrusted(self, span: &Span) {
        self.adopt_in(&Context::new().with_value(Untrusted), span);
    }

    fn adopt_in(self, context: &Context, span: &Span) {
        let context = context.with_remote_span_context(self.context());
        // It fails only if spans are not exported.
        let _ = span.set_parent(context);
    }

    fn context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, self.flags, true, TraceState::NONE)
    }
}

/// Sets the name of `span` at collectors, in place of its static one.
pub fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        read(text).ok_or(NoTraceParent)
    }
}

fn read(text: &str) -> Option<TraceParent> {
    let hex = |text: &str, digits: usize| {
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        text.len() == digits && text.bytes().all(lower)
    };
    let mut fields = text.split('-');
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
    let parent = TraceParent {
        trace: TraceId::from_hex(trace).ok()?,
        span: SpanId::from_hex(span).ok()?,
        flags: TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1),
    };
    parent.context().is_valid().then_some(parent)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace}-{span}-{flags:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        TraceParent::of(&headers).map(|parent| parent.to_string())
    }

    #[test]
    fn a_caller_s_trace_is_read_as_in_the_standard() {
        assert_eq!(of(&[CALLER]).as_deref(), Some(CALLER));
        let not_sampled = CALLER.replace("-01", "-00");
        assert_eq!(of(&[&not_sampled]), Some(not_sampled));
        // Unknown flags are not passed on, and a later version is read like this one.
        for same in [
            CALLER.replace("-01", "-ff"),
            CALLER.replacen("00-", "cc-", 1),
            format!("{}-x", CALLER.replacen("00-", "cc-", 1)),
        ] {
            assert_eq!(of(&[&same]).as_deref(), Some(CALLER), "{same}");
        }
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[CALLER, CALLER]), None);
        for wrong in [
            "",
            "00",
            "00-zz",
            &CALLER.to_uppercase(),
            &CALLER.replacen("00-", "ff-", 1),
            &format!("{CALLER}-x"),
            &CALLER[..54],
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(&[wrong]), None, "{wrong}");
        }
        let lines = format!("{CALLER}\r\nx: y");
        assert_eq!(lines.parse::<TraceParent>(), Err(NoTraceParent));
    }

    #[test]
    fn an_exported_span_joins_its_caller_s_trace_and_has_a_traceparent_for_callees() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("attempt");
            CALLER.parse::<TraceParent>().unwrap().adopt(&span);
            let own = TraceParent::recorded(&span).unwrap().to_string();
            assert_eq!(own[..36], CALLER[..36]);
            assert_ne!(own[36..52], CALLER[36..52]);
        });
    }

    #[test]
    fn a_span_that_is_not_exported_belongs_to_its_caller_s_trace_or_a_new_one() {
        assert_eq!(TraceParent::recorded(&Span::none()), None);
        let alone = TraceParent::below(None).to_string();
        assert_eq!(of(&[&alone]).as_deref(), Some(&*alone));
        assert_ne!(TraceParent::below(None).to_string(), alone);
        let joined = TraceParent::below(CALLER.parse().ok()).to_string();
        assert_eq!(joined[..36], CALLER[..36]);
        assert_ne!(joined[36..52], CALLER[36..52]);
        assert_eq!(of(&[&joined]), Some(joined));
    }
}
