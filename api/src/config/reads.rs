//! Bounds on reading: on those who wait, on streams and downloads, on what is deleted.

use std::time::Duration;

/// What readers of jobs may cost.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Reads")]
pub struct ReadsConfig {
    /// Requests that may follow a job at a time, by `Prefer: wait` or by its events. Beyond it a
    /// wait is not honoured, and a stream of events is answered 503.
    #[arg(long, env = "FOVEA_API_MAX_WAITERS", default_value_t = 10_000)]
    pub max_waiters: usize,

    /// Longest life of a stream of events, in seconds; its client then asks again by itself.
    #[arg(
        long,
        env = "FOVEA_API_EVENT_STREAM_SECONDS",
        default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub event_stream_seconds: u64,

    /// Silence after which a stream of events gets a comment, in seconds: it keeps proxies from
    /// closing it.
    #[arg(
        long,
        env = "FOVEA_API_EVENT_KEEP_ALIVE_SECONDS",
        default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub event_keep_alive_seconds: u64,

    /// Pictures and results that may be on their way to clients at a time; beyond it 503.
    #[arg(long, env = "FOVEA_API_MAX_DOWNLOADS", default_value_t = 256)]
    pub max_downloads: usize,

    /// Longest time for which a client may not take a byte of a picture or result, in milliseconds.
    #[arg(
        long,
        env = "FOVEA_API_DOWNLOAD_IDLE_TIMEOUT_MS",
        default_value_t = 30_000
    )]
    pub download_idle_timeout_ms: u64,

    /// Life of a signed URL, in seconds.
    #[arg(
        long,
        env = "FOVEA_API_SIGNED_URL_SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub signed_url_seconds: u64,

    /// Age in seconds under which an uploaded picture is not deleted with the last job that refers
    /// to it but left to the sweeper: a request that has just put the same picture may be about to
    /// make its job. It must be longer than any upload takes.
    #[arg(long, env = "FOVEA_API_PICTURE_GRACE_SECONDS", default_value_t = 900)]
    pub picture_grace_seconds: u64,

    /// Namespaces whose RunnerPools are shown; repeatable, or separated by commas. They are those
    /// that the operator looks for pools in.
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
