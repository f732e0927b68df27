//! Log and spans, the same in every program of Fovea.
//!
//! Spans are exported by OTLP over HTTP where `OTEL_EXPORTER_OTLP_ENDPOINT` (or its form for traces)
//! is set; the SDK's other variables, such as `OTEL_TRACES_SAMPLER` and `OTEL_EXPORTER_OTLP_HEADERS`,
//! work too. [`trace`] joins spans of several programs into one trace.

mod collector;
mod sampler;
pub mod trace;

pub mod upstream;

use fovea_proxy::Proxies;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Log levels if `RUST_LOG` is not set.
const DEFAULT_FILTER: &str = "info,kube_client=warn,kube_runtime=warn,aws_config=warn,tower=warn,opentelemetry=warn,opentelemetry_sdk=warn";
/// Variables that enable the export of spans.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];

/// Format of the log on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines of text for people.
    Text,
    /// One JSON object per line, for log collectors.
    Json,
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The `OTEL_EXPORTER_OTLP_*` variables are invalid.
    #[error("spans cannot be exported: check the OTEL_EXPORTER_OTLP_* variables")]
    Exporter(#[from] ExporterBuildError),
    /// For instance: the system has no certificate authorities.
    #[error("spans cannot be exported: no HTTP client: {0}")]
    Client(String),
}

/// A running log and export of spans.
#[derive(Debug)]
#[must_use = "spans that are not sent yet are lost without `stop`"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Sends the remaining spans, for at most the exporter's own timeout. Blocks the thread.
    pub fn stop(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// Writes the log of `program` (such as `fovea-api`) to standard error, with the levels of
/// `RUST_LOG`, and exports its spans where a collector is configured, which requires an installed
/// TLS provider. Spans go through `proxies`. A second call in one process changes nothing, so tests can share it.
pub fn start(
    program: &'static str,
    format: LogFormat,
    proxies: &Proxies,
) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT_FILTER.into());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    // Logging starts in any case, so that the caller can log why there are no spans.
    let (provider, failed) = match exporting().then(|| provider(program, proxies)).transpose() {
        Ok(provider) => (provider, None),
        Err(error) => (None, Some(error)),
    };
    let spans = provider.as_ref().map(|provider| {
        // The program's own spans, whatever the log level.
        let own = format!("off,{}=info", program.replace('-', "_"));
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(program))
            .with_filter(EnvFilter::new(own))
    });
    // Fails if a subscriber is set already, which is fine.
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

/// Exports spans in batches, on a thread of its own; the SDK sets the bounds.
fn provider(program: &'static str, proxies: &Proxies) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector::client(proxies)?)
        .with_protocol(Protocol::HttpBinary)
        .build()?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(program);
    }
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler::Sampler::default())
        .with_resource(resource.build())
        .build())
}
