//! Start and end of a program.

use crate::files;
use fovea_proxy::{Proxies, ProxyError};
use fovea_telemetry::{LogFormat, Telemetry, TelemetryError};
use std::fmt::Display;
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A started program: its log, its spans, its signals, its listeners.
#[derive(Debug)]
#[must_use = "spans that are not sent yet are lost without `finish`"]
pub struct Runtime {
    telemetry: Telemetry,
    max_open_files: usize,
}

/// A listener's address is taken or not this machine's.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {address}: {error}")]
pub struct BindError {
    flag: &'static str,
    address: SocketAddr,
    error: std::io::Error,
}

/// Why a program could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The variables of the export of spans are invalid.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// `HTTPS_PROXY`, `HTTP_PROXY` or `NO_PROXY` is invalid.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

impl Runtime {
    /// Starts the log and the export of spans of `program` (such as `fovea-api`), raises the limit on open files
    /// as far as the system lets it, installs the TLS provider that every client uses, and checks the proxies of
    /// the environment.
    pub fn start(program: &'static str, format: LogFormat) -> Result<Self, StartError> {
        // An already installed provider works too.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let proxies = Proxies::from_env();
        // Invalid ones are logged, hence after this.
        let known = proxies.clone().unwrap_or_default();
        let telemetry = fovea_telemetry::start(program, format, &known)?;
        let proxies = proxies?;
        if !proxies.is_empty() {
            let (https, http) = (proxies.https(), proxies.http());
            let no_proxy = proxies.no_proxy();
            tracing::info!(?https, ?http, no_proxy, "proxies of the environment");
        }
        Ok(Self {
            telemetry,
            max_open_files: files::raise_limit(),
        })
    }

    /// Limit on open files; `usize::MAX` if there is none.
    pub fn max_open_files(&self) -> usize {
        self.max_open_files
    }

    /// A token that SIGTERM (Kubernetes) or SIGINT (a terminal) cancels. From now on neither ends
    /// the process by itself.
    pub fn shutdown_on_signal(&self) -> std::io::Result<CancellationToken> {
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let shutdown = CancellationToken::new();
        let signalled = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("stopping");
            signalled.cancel();
        });
        Ok(shutdown)
    }

    /// Listens on the address that `flag` names.
    pub async fn bind(
        &self,
        flag: &'static str,
        address: SocketAddr,
    ) -> Result<TcpListener, BindError> {
        let bound = TcpListener::bind(address).await;
        bound.map_err(|error| BindError {
            flag,
            address,
            error,
        })
    }

    /// Sends the remaining spans, for at most the exporter's own timeout. A program that must end at
    /// once drops the runtime instead.
    pub async fn finish(self) {
        let Self { telemetry, .. } = self;
        if let Err(error) = tokio::task::spawn_blocking(|| telemetry.stop()).await {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// The exit code of a program that ended with `outcome`; an error is logged.
pub fn exit_code<E: Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_named_with_its_flag() {
        let runtime = Runtime::start("fovea-process", LogFormat::Text).unwrap();
        let free = "127.0.0.1:0".parse().unwrap();
        let taken = runtime.bind("--listen", free).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = runtime.bind("--listen", address).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("--listen {address}: ")), "{text}");
        runtime.finish().await;
    }

    #[test]
    fn an_error_ends_the_program_with_1() {
        let code = |outcome: Result<(), &str>| format!("{:?}", exit_code(outcome));
        assert_eq!(code(Ok(())), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(Err("no")), format!("{:?}", ExitCode::from(1)));
    }
}
