//! Where a program's log lines and spans go; the same for every program of Fovea.
//!
//! Spans are exported by OTLP over HTTP where `OTEL_EXPORTER_OTLP_ENDPOINT` (or its form for traces)
//! is set; the SDK's other variables, such as `OTEL_TRACES_SAMPLER` and `OTEL_EXPORTER_OTLP_HEADERS`,
//! hold as well. [`trace`] says how spans of several programs come into one trace.

pub mod trace;

pub mod upstream;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// What is logged where `RUST_LOG` does not say.
const DEFAULT_FILTER: &str = "info,kube_client=warn,kube_runtime=warn,aws_config=warn,tower=warn,opentelemetry=warn,opentelemetry_sdk=warn";
/// Each of them switches the export on.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors, one object a line.
    Json,
}

/// Spans cannot be exported as the environment has it.
#[derive(Debug, thiserror::Error)]
#[error("spans cannot be exported: check the OTEL_EXPORTER_OTLP_* variables")]
pub struct TelemetryError(#[from] ExporterBuildError);

/// Ends the export of spans.
#[derive(Debug)]
#[must_use = "spans that are not sent yet are lost without `stop`"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Sends what is left, for at most the exporter's own timeout. Blocks.
    pub fn stop(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// Sends the log lines of `program` (as `fovea-api`) to standard error; the level is taken from
/// `RUST_LOG`. Sends spans to a collector
/// where one is configured; that needs a TLS provider to be installed. A second call adds nothing, so
/// that tests may share a process.
pub fn start(program: &'static str, format: LogFormat) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT_FILTER.into());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    // Log lines come in any case: why there are no spans is told in one of them.
    let (provider, failed) = match exporting().then(|| provider(program)).transpose() {
        Ok(provider) => (provider, None),
        Err(error) => (None, Some(error)),
    };
    let spans = provider.as_ref().map(|provider| {
        // The program's own, whatever is logged.
        let own = format!("off,{}=info", program.replace('-', "_"));
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(program))
            .with_filter(EnvFilter::new(own))
    });
    // The error says that a subscriber is set already, which is what was wanted.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init();
    failed.map_or(Ok(Telemetry(provider)), Err)
}

fn exporting() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    ENDPOINTS.into_iter().any(set)
}

/// Batches on a thread of their own; the exporter's bounds are the SDK's.
fn provider(program: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .build()?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(program);
    }
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build())
}
