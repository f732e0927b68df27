//! `fovea-api`: parses its configuration, connects, serves until a signal.

use clap::Parser as _;
use fovea_api::{App, AuthMode, Config, Door, Metrics, kubernetes, metrics_router, serve};
use fovea_process::{Runtime, exit_code, serve_admin};
use fovea_store::Store;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(Box::pin(run(Config::parse())).await)
}

async fn run(config: Config) -> anyhow::Result<()> {
    let runtime = Runtime::start("fovea-api", config.log_format)?;
    tracing::info!(?config, "starting");
    if config.auth.mode == AuthMode::None && !config.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.listen, "authentication is off and the address is not a loopback one: \
            whoever reaches it can submit and read jobs in namespace {}: see --auth", config.namespace);
    }

    let metrics = Arc::new(Metrics::new());
    let clients = kubernetes::connect(&config.timeouts, &metrics).await?;
    let store = Store::connect_observed(&config.store, Arc::clone(&metrics) as _).await?;
    let listener = runtime.bind("--listen", config.listen).await?;
    let door = Door::new(&config, Arc::clone(&metrics));
    if let Some(address) = config.metrics_listen {
        let listener = runtime.bind("--metrics-listen", address).await?;
        tracing::info!(address = %listener.local_addr()?, "metrics are here");
        // It ends with the process, so that a drain can be observed.
        let (router, never) = (
            metrics_router(Arc::clone(&metrics)),
            CancellationToken::new(),
        );
        tokio::spawn(serve_admin(listener, router, never));
    }

    let shutdown = runtime.shutdown_on_signal()?;
    let app = App::new(config, clients, store, metrics);
    let draining = app.draining();
    let stop = async move {
        shutdown.cancelled().await;
        draining.cancel();
    };
    tracing::info!(listen = %listener.local_addr()?, "serving");
    serve(listener, fovea_api::router(app), door, stop).await;
    tracing::info!("stopped");
    runtime.finish().await;
    Ok(())
}
