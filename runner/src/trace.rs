//! W3C trace context: an attempt's span joins the trace that the operator names.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::HashMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// <https://www.w3.org/TR/trace-context/#traceparent-header>
const TRACEPARENT: &str = "traceparent";

/// The caller's span, if it names a valid one.
pub(crate) fn caller(headers: &HeaderMap) -> Option<Context> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), value.to_owned())]);
    let nothing = Context::new();
    let context = TraceContextPropagator::new().extract_with_context(&nothing, &carrier);
    Some(context).filter(|context| context.span().span_context().is_valid())
}

/// Puts `span` below the caller's.
pub(crate) fn join(span: &Span, caller: Option<Context>) {
    if let Some(caller) = caller {
        // The error says that spans are not exported.
        let _ = span.set_parent(caller);
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

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn an_attempt_is_a_span_of_the_trace_that_the_operator_names() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("attempt");
            join(&span, caller(&headers(&[CALLER])));
            let own = span.context().span().span_context().clone();
            assert_eq!(own.trace_id().to_string(), CALLER[3..35]);
            assert_ne!(own.span_id().to_string(), CALLER[36..52]);
        });
    }

    #[test]
    fn what_is_no_trace_is_not_joined() {
        for wrong in [
            &[][..],
            &[""],
            &["00-zz"],
            &[CALLER, CALLER],
            &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
        ] {
            assert!(caller(&headers(wrong)).is_none(), "{wrong:?}");
        }
    }
}
