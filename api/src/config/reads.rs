//! Bounds on waiting requests, event streams, downloads and deletions.

use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Reads")]
pub struct ReadsConfig {
    /// Maximum number of requests that wait for a job at a time, by `Prefer: wait` or an event
    /// stream. Beyond it `Prefer: wait` is ignored and event streams are answered 503. With
    /// authentication a user and a namespace have at most half of them alone and a quarter beside others;
    /// beyond it event streams are answered 429.
    #[arg(long, env = "FOVEA_API_MAX_WAITERS", default_value_t = 10_000)]
    pub max_waiters: usize,

    /// Lifetime of an event stream, in seconds. Clients reconnect by themselves.
    #[arg(
        long,
        env = "FOVEA_API_EVENT_STREAM_SECONDS",
        default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub event_stream_seconds: u64,

    /// Interval between comments on a silent event stream, in seconds, which keep proxies from
    /// closing it. Set it below the idle timeout of your proxies.
    #[arg(
        long,
        env = "FOVEA_API_EVENT_KEEP_ALIVE_SECONDS",
        default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub event_keep_alive_seconds: u64,

    /// Maximum number of downloads of pictures and results at a time; beyond it they are answered
    /// 503. With authentication a user and a namespace have at most half of them alone and a quarter
    /// beside others; beyond it they are answered 429.
    #[arg(long, env = "FOVEA_API_MAX_DOWNLOADS", default_value_t = 256)]
    pub max_downloads: usize,

    /// Time in milliseconds after which a download is aborted because its client read nothing.
    #[arg(
        long,
        env = "FOVEA_API_DOWNLOAD_IDLE_TIMEOUT_MS",
        default_value_t = 30_000
    )]
    pub download_idle_timeout_ms: u64,

    /// Lifetime in seconds of the signed URLs that clients are redirected to with
    /// --s3-public-endpoint.
    #[arg(
        long,
        env = "FOVEA_API_SIGNED_URL_SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub signed_url_seconds: u64,

    /// Minimum age in seconds at which an uploaded picture is deleted with the last job that refers
    /// to it. A younger one is left to the operator's sweeper, since a concurrent request may have
    /// uploaded the same picture and not created its job yet. Must exceed the duration of any
    /// upload.
    #[arg(long, env = "FOVEA_API_PICTURE_GRACE_SECONDS", default_value_t = 900)]
    pub picture_grace_seconds: u64,

    /// Namespaces whose RunnerPools the API lists: those that the operator reconciles pools in.
    /// Comma-separated.
    #[arg(
        long,
        env = "FOVEA_API_POOL_NAMESPACES",
        default_value = "fovea-system",
        value_delimiter = ','
    )]
    pub pool_namespaces: Vec<String>,
}

impl ReadsConfig {
    pub(crate) fn event_stream(&self) -> Duration {
        Duration::from_secs(self.event_stream_seconds)
    }

    pub(crate) fn download_idle(&self) -> Duration {
        Duration::from_millis(self.download_idle_timeout_ms)
    }

    pub(crate) fn signed_url(&self) -> Duration {
        Duration::from_secs(self.signed_url_seconds)
    }

    pub(crate) fn picture_grace(&self) -> Duration {
        Duration::from_secs(self.picture_grace_seconds)
    }

    pub(crate) fn event_keep_alive(&self) -> Duration {
        Duration::from_secs(self.event_keep_alive_seconds)
    }
}
