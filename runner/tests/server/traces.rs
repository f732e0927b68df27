//! An attempt is a span of the trace that its caller names.

use crate::harness::{Lines, Runner, rgb, settings, until};
use fovea_protocol::INFER_PATH;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use std::sync::{Arc, Mutex};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

#[tokio::test]
async fn an_attempt_is_a_span_below_the_caller_s() {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(kept.clone())
        .build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let ours = filter_fn(|metadata| metadata.target().starts_with("fovea_runner"));
    let subscriber = tracing_subscriber::registry().with(spans.with_filter(ours));
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let runner = Runner::start(settings()).await;
    let body = serde_json::to_vec(&rgb()).unwrap();
    let url = format!("http://{}{INFER_PATH}", runner.address);
    let call = runner.client.post(url).header("traceparent", CALLER);
    Lines::new(call.body(body).send().await.unwrap())
        .last()
        .await;
    until(async || {
        let spans = kept.0.lock().unwrap();
        spans.iter().any(|span| {
            span.name == "attempt"
                && span.span_context.trace_id().to_string() == TRACE
                && span.parent_span_id.to_string() == CALLER[36..52]
        })
    })
    .await;
}
