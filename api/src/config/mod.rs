//! Flags and environment, one struct per subsystem. Every bound that a client can meet is here.

mod auth;
mod compat;
mod reads;

pub use auth::{AuthConfig, AuthMode, ForwardedHeader, RatesConfig};
pub use compat::{AsyncVisionConfig, CompatConfig, ImageAnalysisConfig};
pub use reads::ReadsConfig;

use fovea_store::StoreConfig;
use fovea_telemetry::LogFormat;
use std::net::SocketAddr;
use std::time::Duration;

/// Fovea's HTTP API: takes pictures, makes InferenceJobs, tells how they fare.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "fovea-api", version)]
pub struct Config {
    /// Address to serve on.
    #[arg(long, env = "FOVEA_API_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,

    /// Namespace of a request that names none, and the only one where nobody is authenticated.
    #[arg(long, env = "FOVEA_API_NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// The one namespace that is served where users are authenticated: no right is needed on any
    /// other. Left out: every one.
    #[arg(long, env = "FOVEA_API_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// Address to serve `/metrics` on, where it is not to be seen beside the API.
    #[arg(long, env = "FOVEA_API_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,

    /// How log lines look; their level comes from `RUST_LOG`.
    #[arg(long, env = "FOVEA_API_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Who is let in.
    #[command(flatten)]
    pub auth: AuthConfig,

    /// How often one may ask.
    #[command(flatten)]
    pub rates: RatesConfig,

    /// What a request may weigh.
    #[command(flatten)]
    pub limits: LimitsConfig,

    /// What a request may take.
    #[command(flatten)]
    pub timeouts: TimeoutsConfig,

    /// What readers of jobs may cost.
    #[command(flatten)]
    pub reads: ReadsConfig,

    /// Where pictures lie.
    #[command(flatten)]
    pub store: StoreConfig,

    /// The routes of the two services that Fovea stands in for.
    #[command(flatten)]
    pub compat: CompatConfig,
}

impl Config {
    /// The namespace that alone is served, where it is one.
    pub(crate) fn only_namespace(&self) -> Option<&str> {
        match self.auth.mode {
            AuthMode::None => Some(&self.namespace),
            AuthMode::Kubernetes => self.watch_namespace.as_deref(),
        }
    }
}

/// Bounds on size and number.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitsConfig {
    /// Largest picture in bytes; one byte more is answered 413.
    #[arg(long, env = "FOVEA_API_MAX_UPLOAD_BYTES", default_value_t = 10 * 1024 * 1024)]
    pub max_upload_bytes: usize,

    /// Memory in bytes that all uploads under way may hold together; beyond it 503.
    #[arg(long, env = "FOVEA_API_UPLOAD_MEMORY_BYTES", default_value_t = 256 * 1024 * 1024)]
    pub upload_memory_bytes: usize,

    /// Largest picture in pixels, by its header; beyond it 413. The default is Pillow's bound.
    #[arg(long, env = "FOVEA_API_MAX_PIXELS", default_value_t = 178_956_970)]
    pub max_pixels: u64,

    /// Open connections; more wait to be accepted.
    #[arg(long, env = "FOVEA_API_MAX_CONNECTIONS", default_value_t = 16_384)]
    pub max_connections: usize,
}

/// Bounds on time, in milliseconds.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Timeouts")]
pub struct TimeoutsConfig {
    /// Longest wait for a request's headers, which is also how long an idle connection is kept.
    #[arg(long, env = "FOVEA_API_HEADER_TIMEOUT_MS", default_value_t = 30_000)]
    pub header_timeout_ms: u64,

    /// Longest silence within a request's body; beyond it 408.
    #[arg(long, env = "FOVEA_API_BODY_IDLE_TIMEOUT_MS", default_value_t = 10_000)]
    pub body_idle_timeout_ms: u64,

    /// Longest time for a whole body; beyond it 408.
    #[arg(long, env = "FOVEA_API_BODY_TIMEOUT_MS", default_value_t = 60_000)]
    pub body_timeout_ms: u64,

    /// Longest time for one request to the Kubernetes API server.
    #[arg(long, env = "FOVEA_API_KUBE_TIMEOUT_MS", default_value_t = 5_000)]
    pub kube_timeout_ms: u64,

    /// Longest time to find out whether a create whose answer was lost has landed; beyond it 504.
    #[arg(long, env = "FOVEA_API_SETTLE_TIMEOUT_MS", default_value_t = 10_000)]
    pub settle_timeout_ms: u64,

    /// Longest time for one health check, and how long its outcome is reused.
    #[arg(long, env = "FOVEA_API_CHECK_TIMEOUT_MS", default_value_t = 2_000)]
    pub check_timeout_ms: u64,

    /// Longest time for open requests to end after a SIGTERM.
    #[arg(long, env = "FOVEA_API_DRAIN_TIMEOUT_MS", default_value_t = 30_000)]
    pub drain_timeout_ms: u64,
}

impl TimeoutsConfig {
    /// For the accept loop.
    pub(crate) fn header(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }

    pub(crate) fn kube(&self) -> Duration {
        Duration::from_millis(self.kube_timeout_ms)
    }

    pub(crate) fn settle(&self) -> Duration {
        Duration::from_millis(self.settle_timeout_ms)
    }

    pub(crate) fn check(&self) -> Duration {
        Duration::from_millis(self.check_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Config::command().debug_assert();
    }

    #[test]
    fn a_password_in_the_endpoint_is_not_printed() {
        let config =
            Config::parse_from(["fovea-api", "--s3-endpoint", "http://user:secret@s3.test"]);
        let printed = format!("{config:?}");
        assert!(
            printed.contains("s3.test") && !printed.contains("secret"),
            "{printed}"
        );
    }
}
