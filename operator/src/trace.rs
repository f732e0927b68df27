//! The span of an attempt: it joins the job's trace, and the runner's spans join it.

use fovea_crds::{InferenceJob, annotations};
use fovea_telemetry::trace::TraceParent;
use kube::ResourceExt as _;
use tracing::Span;

/// The span of an attempt, and the `traceparent` for the runner: that of the span where spans are
/// exported, else the job's own.
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
    let made = job.annotations().get(annotations::TRACEPARENT);
    let made: Option<TraceParent> = made.and_then(|text| text.parse().ok());
    if let Some(made) = made {
        made.adopt(&span);
    }
    let parent = TraceParent::recorded(&span).or(made);
    (span, parent.map(|parent| parent.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traceparent_for(annotation: Option<&str>) -> Option<String> {
        let mut job = crate::fixtures::job();
        if let Some(text) = annotation {
            let text = text.to_owned();
            job.annotations_mut()
                .insert(annotations::TRACEPARENT.to_owned(), text);
        }
        attempt(&job, 1, "http://runner").1
    }

    #[test]
    fn a_runner_gets_the_job_s_trace_and_nothing_else() {
        assert_eq!(traceparent_for(Some(MADE)).as_deref(), Some(MADE));
        assert_eq!(traceparent_for(None), None);
        assert_eq!(traceparent_for(Some("00-zz")), None);
    }
}
