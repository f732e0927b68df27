//! Which traces are recorded. The SDK decides by its variables `OTEL_TRACES_SAMPLER` and
//! `OTEL_TRACES_SAMPLER_ARG`; here a caller that is not trusted gets no say in it.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{
    Config, IdGenerator as _, RandomIdGenerator, SamplingDecision, SamplingResult, ShouldSample,
};

/// Marks a context whose remote span is of a caller that is not trusted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Untrusted;

/// The configured sampler. A trace that an untrusted caller began is recorded as often as one that begins
/// here: neither the caller's flag nor the trace's id, which the caller has chosen, forces it. A caller may
/// ask for no record.
#[derive(Clone, Debug)]
pub(crate) struct Sampler(Box<dyn ShouldSample>);

impl Default for Sampler {
    fn default() -> Self {
        Self(Config::default().sampler)
    }
}

impl ShouldSample for Sampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        // Spans below inherit the mark, and follow the span of this program above them.
        let is_stranger = |parent: &&Context| {
            parent.get::<Untrusted>().is_some() && parent.span().span_context().is_remote()
        };
        let stranger = parent_context.filter(is_stranger);
        let Some(stranger) = stranger else {
            return (self.0).should_sample(
                parent_context,
                trace_id,
                name,
                span_kind,
                attributes,
                links,
            );
        };
        let trace_id = RandomIdGenerator::default().new_trace_id();
        let mut result = (self.0).should_sample(None, trace_id, name, span_kind, attributes, links);
        if !stranger.span().span_context().is_sampled() {
            result.decision = SamplingDecision::Drop;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceParent;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler as Sdk, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    /// How many of 400 requests with this `traceparent` are recorded, at a ratio of 1 in 10.
    fn recorded(caller: &str, trusted: bool) -> usize {
        let ratio = Sdk::ParentBased(Box::new(Sdk::TraceIdRatioBased(0.1)));
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler(Box::new(ratio)))
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let is_recorded = |_: &usize| {
                let span = tracing::info_span!("request");
                let caller: TraceParent = caller.parse().unwrap();
                if trusted {
                    caller.adopt(&span);
                } else {
                    caller.adopt_untrusted(&span);
                }
                let own = TraceParent::recorded(&span).unwrap().to_string();
                assert_eq!(own[..36], caller.to_string()[..36], "it stays in its trace");
                let below = span.in_scope(|| tracing::info_span!("below"));
                let below = TraceParent::recorded(&below).unwrap().to_string();
                assert_eq!(below[53..], own[53..], "a trace is recorded as a whole");
                own.ends_with("-01")
            };
            (0..400).filter(is_recorded).count()
        })
    }

    #[test]
    fn a_stranger_s_flag_and_id_do_not_force_a_trace_to_be_recorded() {
        // By its id this trace is below any ratio.
        let lowest = "00-4bf92f3577b34da60000000000000001-00f067aa0ba902b7-01";
        assert_eq!(recorded(lowest, true), 400);
        let of_stranger = recorded(lowest, false);
        assert!((5..120).contains(&of_stranger), "{of_stranger} of 400");
        let refused = lowest.replace("-01", "-00");
        assert_eq!(recorded(&refused, false), 0);
        assert_eq!(recorded(&refused, true), 0);
    }
}
