//! `fovea-api`: reads its configuration, connects, serves until it is told to stop.

use anyhow::Context as _;
use clap::Parser as _;
use fovea_api::{App, AuthMode, Config, Door, Metrics, kubernetes, metrics_router, serve};
use fovea_store::Store;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    let telemetry = fovea_telemetry::start("fovea-api", config.log_format)?;
    tracing::info!(config = ?config.masked(), "starting");
    if config.auth.mode == AuthMode::None && !config.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.listen, "authentication is off and the address is not a loopback one: \
            whoever reaches it can submit and read jobs in namespace {}: see --auth", config.namespace);
    }

    let metrics = Arc::new(Metrics::new());
    let clients = kubernetes::connect(&config.timeouts, &metrics).await?;
    let store = Store::connect_observed(&config.store, Arc::clone(&metrics) as _).await?;
    let bind = |flag, address| async move {
        let bound = TcpListener::bind(address).await;
        bound.with_context(|| format!("{flag} {address}"))
    };
    let listener = bind("--listen", config.listen).await?;
    let door = Door::new(&config, Arc::clone(&metrics));
    if let Some(address) = config.metrics_listen {
        let (listener, router) = (
            bind("--metrics-listen", address).await?,
            metrics_router(Arc::clone(&metrics)),
        );
        tracing::info!(address = %listener.local_addr()?, "metrics are here");
        // Ends with the process: a drain is to be seen as well.
        tokio::spawn(serve(
            listener,
            router,
            door.clone(),
            std::future::pending(),
        ));
    }

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = App::new(config, clients, store, metrics);
    let draining = app.draining();
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        draining.cancel();
    };
    tracing::info!(listen = %listener.local_addr()?, "serving");
    serve(listener, fovea_api::router(app), door, stop).await;
    tracing::info!("stopped");
    tokio::task::spawn_blocking(|| telemetry.stop()).await?;
    Ok(())
}
