//! Where log lines go and how they look.

use crate::config::LogFormat;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// What is logged where `RUST_LOG` does not say.
const DEFAULT_FILTER: &str = "info,kube_client=warn,aws_config=warn,tower=warn";

/// Sends log lines to standard error; the level is taken from `RUST_LOG`. A second call is a no-op,
/// so that tests may share a process.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT_FILTER.into());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // The error says that a subscriber is set already, which is what was wanted.
    let _ = match format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}
