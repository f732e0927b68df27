//! Flags and environment variables, one struct per subsystem, with every bound that affects clients.

mod auth;
mod compat;
mod files;
mod reads;

pub use auth::{AuthConfig, AuthMode, ForwardedHeader, RatesConfig};
pub use compat::{AsyncVisionConfig, CompatConfig, ImageAnalysisConfig};
pub use files::Files;
pub use reads::ReadsConfig;

use crate::pace::MinRate;
use fovea_store::StoreConfig;
use fovea_telemetry::LogFormat;
use std::net::SocketAddr;
use std::time::Duration;

/// Fovea's HTTP API: accepts pictures, creates InferenceJobs, and serves their status and results.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "fovea-api", version)]
pub struct Config {
    /// Address and port to serve the API on. The default is reachable from this machine only; use
    /// `0.0.0.0:8000` in a pod.
    #[arg(long, env = "FOVEA_API_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,

    /// Namespace of jobs whose request names none. Without authentication it is the only one
    /// served.
    #[arg(long, env = "FOVEA_API_NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// With authentication, serve only this namespace; the API then needs no rights on others.
    /// Default: all namespaces.
    #[arg(long, env = "FOVEA_API_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// Address and port to serve /livez, /readyz and /metrics on, which answer while all connections to --listen
    /// are taken. Default: /metrics is served on the address of the API, where its clients can read it.
    #[arg(long, env = "FOVEA_API_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,

    /// Format of the log on standard error. Its level is set by the environment variable `RUST_LOG`,
    /// such as `debug` (default: `info`).
    #[arg(long, env = "FOVEA_API_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Record a request's spans whenever its header `traceparent` says that the caller does. Set it only
    /// where a proxy in front removes or replaces strangers' headers. Otherwise such a request joins its
    /// caller's trace, and is recorded as often as one without the header.
    #[arg(long, env = "FOVEA_API_TRUST_TRACEPARENT")]
    pub trust_traceparent: bool,

    #[command(flatten)]
    pub auth: AuthConfig,

    #[command(flatten)]
    pub rates: RatesConfig,

    #[command(flatten)]
    pub limits: LimitsConfig,

    #[command(flatten)]
    pub timeouts: TimeoutsConfig,

    #[command(flatten)]
    pub reads: ReadsConfig,

    /// Flags of the object store.
    #[command(flatten)]
    pub store: StoreConfig,

    /// Flags of the compatibility routes.
    #[command(flatten)]
    pub compat: CompatConfig,
}

impl Config {
    /// The least rate at which clients have to move bytes.
    pub(crate) fn min_rate(&self) -> MinRate {
        MinRate {
            bytes_per_second: self.limits.min_bytes_per_second,
            window: Duration::from_millis(self.timeouts.min_rate_window_ms),
        }
    }

    /// The only namespace served, if it is only one.
    pub(crate) fn only_namespace(&self) -> Option<&str> {
        match self.auth.mode {
            AuthMode::None => Some(&self.namespace),
            AuthMode::Kubernetes => self.watch_namespace.as_deref(),
        }
    }
}

/// Flags of limits on sizes and numbers.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitsConfig {
    /// Largest accepted picture, in bytes; a larger one is answered 413.
    #[arg(long, env = "FOVEA_API_MAX_UPLOAD_BYTES", default_value_t = 10 * 1024 * 1024)]
    pub max_upload_bytes: usize,

    /// Largest accepted manifest, ZIP or tar of a batch, in bytes; a larger one is answered 413. Decompressed, the
    /// pictures of an archive may have four times as many bytes. Four are received at a time; a ZIP lies in the
    /// temporary folder meanwhile.
    #[arg(
        long,
        env = "FOVEA_API_MAX_ARCHIVE_BYTES",
        default_value_t = 1024 * 1024 * 1024,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=16 * 1024 * 1024 * 1024)
    )]
    pub max_archive_bytes: usize,

    /// Memory for everything that requests hold together, in bytes: bodies, downloads, lists, archives and large
    /// responses. A request that gets none within a second is answered 503. Responses have at most half of it, in
    /// shares as --upload-memory-bytes. The process needs more: see the
    /// documentation on the API's memory.
    #[arg(long, env = "FOVEA_API_MEMORY_BYTES", default_value_t = 512 * 1024 * 1024)]
    pub memory_bytes: usize,

    /// Memory for the bodies of all uploads of pictures in progress together, in bytes; part of --memory-bytes.
    /// While it is used up, further uploads are answered 503. With authentication a user and a namespace have at
    /// most half of it alone and a quarter beside others; beyond it they are answered 429.
    #[arg(long, env = "FOVEA_API_UPLOAD_MEMORY_BYTES", default_value_t = 256 * 1024 * 1024)]
    pub upload_memory_bytes: usize,

    /// Largest accepted picture, in pixels by its header (width times height); a larger one is
    /// answered 413. The default is that of runners; Pillow warns of decompression bombs
    /// above it.
    #[arg(long, env = "FOVEA_API_MAX_PIXELS", default_value_t = 89_478_485)]
    pub max_pixels: u64,

    /// Least rate at which a client has to send a body and to read a response, in bytes per second,
    /// averaged over --min-rate-window-ms of waiting for it; 0 disables the bound. A body below it is
    /// answered 408, a response below it is cut off.
    #[arg(long, env = "FOVEA_API_MIN_BYTES_PER_SECOND", default_value_t = 10 * 1024)]
    pub min_bytes_per_second: u64,

    /// Maximum number of jobs that are created or deleted at a time; further requests wait. A busy API server answers
    /// them one after another: more at a time let a tenant with many clients queue there before the others.
    #[arg(
        long,
        env = "FOVEA_API_MAX_WRITES",
        default_value_t = 8,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4_096)
    )]
    pub max_writes: usize,

    /// Maximum number of open connections; further ones wait to be accepted. It is lowered if the limit on open files
    /// (`RLIMIT_NOFILE`) allows fewer beside the files of the process itself; so are --max-waiters and --max-downloads,
    /// to three quarters of it.
    #[arg(long, env = "FOVEA_API_MAX_CONNECTIONS", default_value_t = 16_384)]
    pub max_connections: usize,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Timeouts")]
pub struct TimeoutsConfig {
    /// Timeout of a request's headers, in milliseconds; an idle connection is closed after the same
    /// time.
    #[arg(long, env = "FOVEA_API_HEADER_TIMEOUT_MS", default_value_t = 30_000)]
    pub header_timeout_ms: u64,

    /// Timeout between two pieces of a request's body, in milliseconds; beyond it the request is
    /// answered 408.
    #[arg(long, env = "FOVEA_API_BODY_IDLE_TIMEOUT_MS", default_value_t = 10_000)]
    pub body_idle_timeout_ms: u64,

    /// Timeout of a whole request body, in milliseconds; beyond it the request is answered 408.
    #[arg(long, env = "FOVEA_API_BODY_TIMEOUT_MS", default_value_t = 60_000)]
    pub body_timeout_ms: u64,

    /// Time over which --min-bytes-per-second is averaged, in milliseconds; the first such time is a
    /// client's grace period.
    #[arg(
        long,
        env = "FOVEA_API_MIN_RATE_WINDOW_MS",
        default_value_t = 20_000,
        value_parser = clap::value_parser!(u64).range(1..=3_600_000)
    )]
    pub min_rate_window_ms: u64,

    /// Timeout of a whole manifest or archive of a batch, in milliseconds; beyond it the request is answered 408.
    #[arg(
        long,
        env = "FOVEA_API_ARCHIVE_TIMEOUT_MS",
        default_value_t = 1_800_000
    )]
    pub archive_timeout_ms: u64,

    /// Timeout of one request to the Kubernetes API server, in milliseconds.
    #[arg(long, env = "FOVEA_API_KUBE_TIMEOUT_MS", default_value_t = 5_000)]
    pub kube_timeout_ms: u64,

    /// When the API server's answer to the creation of a job was lost: time in milliseconds to find
    /// out whether the job exists. Beyond it the client is answered 504 `outcome-unknown`.
    #[arg(long, env = "FOVEA_API_SETTLE_TIMEOUT_MS", default_value_t = 10_000)]
    pub settle_timeout_ms: u64,

    /// Timeout of one health check of the API server or the object store, in milliseconds. Its
    /// result is cached for the same time.
    #[arg(long, env = "FOVEA_API_CHECK_TIMEOUT_MS", default_value_t = 2_000)]
    pub check_timeout_ms: u64,

    /// Time in milliseconds that open requests have to finish after SIGTERM. Keep it below the
    /// pod's terminationGracePeriodSeconds.
    #[arg(long, env = "FOVEA_API_DRAIN_TIMEOUT_MS", default_value_t = 30_000)]
    pub drain_timeout_ms: u64,
}

impl TimeoutsConfig {
    /// Timeout of headers, as a duration.
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
