//! `fovea-api`: reads its configuration, connects, serves until it is told to stop.

use anyhow::Context as _;
use clap::Parser as _;
use fovea_api::{App, Config, kubernetes, serve, telemetry};
use fovea_store::Store;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    telemetry::start(config.log_format);
    tracing::info!(config = ?config.masked(), "starting");
    if !config.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.listen, "authentication is off and the address is not a loopback one: \
            whoever reaches it can submit and read jobs in namespace {}", config.namespace);
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;

    let clients = kubernetes::connect(&config.timeouts).await?;
    let store = Store::connect(&config.store).await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("--listen {}", config.listen))?;
    let drain = Duration::from_millis(config.timeouts.drain_timeout_ms);
    let max_connections = config.limits.max_connections;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = App::new(config, clients, store);
    let draining = app.draining();
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        draining.cancel();
    };
    tracing::info!(listen = %listener.local_addr()?, "serving");
    serve(
        listener,
        fovea_api::router(app),
        max_connections,
        stop,
        drain,
    )
    .await;
    tracing::info!("stopped");
    Ok(())
}
