//! W3C trace context: an attempt is a span of the trace that its job bears, and the runner is told
//! of it.

use fovea_crds::{InferenceJob, annotations};
use kube::ResourceExt as _;
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::HashMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// <https://www.w3.org/TR/trace-context/#traceparent-header>
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The span of an attempt, and what the runner is told: the span itself where spans are exported
/// here, else the one that made the job.
pub(crate) fn attempt(job: &InferenceJob, number: u32, runner: &str) -> (Span, Option<String>) {
    let span = tracing::info_span!(
        "attempt",
        job = job.metadata.name,
        namespace = job.metadata.namespace,
        attempt = number,
        runner,
        outcome = tracing::field::Empty,
        otel.kind = "client",
    );
    let made = job
        .annotations()
        .get(annotations::TRACEPARENT)
        .and_then(|text| read(text));
    if let Some(made) = &made {
        // The error says that spans are not exported.
        let _ = span.set_parent(made.clone());
    }
    let own = Some(span.context()).filter(is_valid);
    let told = own.or(made).and_then(|context| write(&context));
    (span, told)
}

fn is_valid(context: &Context) -> bool {
    context.span().span_context().is_valid()
}

fn read(text: &str) -> Option<Context> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), text.to_owned())]);
    let nothing = Context::new();
    let context = TraceContextPropagator::new().extract_with_context(&nothing, &carrier);
    Some(context).filter(is_valid)
}

fn write(context: &Context) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(context, &mut carrier);
    carrier.remove(TRACEPARENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::{InferenceJobSpec, Input, Task};

    const MADE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn told(annotation: Option<&str>) -> Option<String> {
        let input = Input::Object {
            key: "a.jpg".to_owned(),
        };
        let mut job = InferenceJob::new("a", InferenceJobSpec::new(Task::ImageToText, input));
        if let Some(text) = annotation {
            let text = text.to_owned();
            job.annotations_mut()
                .insert(annotations::TRACEPARENT.to_owned(), text);
        }
        attempt(&job, 1, "http://runner").1
    }

    #[test]
    fn a_runner_is_told_of_the_job_s_trace_and_of_nothing_else() {
        assert_eq!(told(Some(MADE)).as_deref(), Some(MADE));
        let not_sampled = MADE.replace("-01", "-00");
        assert_eq!(told(Some(&not_sampled)), Some(not_sampled));
        assert_eq!(told(None), None);
        for wrong in [
            "",
            "00-zz",
            &MADE.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            &format!("{MADE}\r\nx: y"),
        ] {
            assert_eq!(told(Some(wrong)), None, "{wrong:?}");
        }
    }
}
