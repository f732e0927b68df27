//! `fovea-api`: parses its configuration, connects, serves until a signal.

use clap::Parser as _;
use fovea_api::{App, AuthMode, Config, Door, Metrics, admin_router, kubernetes, serve};
use fovea_process::{Runtime, exit_code, serve_admin};
use fovea_store::Store;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(Box::pin(run(Config::parse())).await)
}

async fn run(mut config: Config) -> anyhow::Result<()> {
    let runtime = Runtime::start("fovea-api", config.log_format)?;
    tracing::info!(?config, "starting");
    if config.auth.mode == AuthMode::None && !config.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.listen, "authentication is off and the address is not a loopback one: \
            whoever reaches it can submit and read jobs in namespace {}: see --auth", config.namespace);
    }

    let files = config.fit(runtime.max_open_files());
    let metrics = Arc::new(Metrics::new());
    let clients = kubernetes::connect(&config.timeouts, files.outgoing, &metrics).await?;
    let store = Store::connect_observed(&config.store, Arc::clone(&metrics) as _).await?;
    let listener = runtime.bind("--listen", config.listen).await?;
    let admin = match config.metrics_listen {
        Some(address) => Some(runtime.bind("--metrics-listen", address).await?),
        None => None,
    };

    let shutdown = runtime.shutdown_on_signal()?;
    let app = Arc::new(App::new(config, files, clients, store, metrics));
    if let Some(admin) = admin {
        tracing::info!(address = %admin.local_addr()?, "health and metrics are here");
        // It ends with the process, so that a drain can be observed.
        let (router, never) = (admin_router(Arc::clone(&app)), CancellationToken::new());
        tokio::spawn(serve_admin(admin, router, never));
    }
    let (door, draining) = (Door::new(&app), app.draining());
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
