//! Wiring: logs and clients, then run until done or told to stop.

use anyhow::Context as _;
use clap::{ArgMatches, FromArgMatches as _};
use fovea_operator::apply_pools::{self, ApplyPoolsConfig};
use fovea_operator::{config::Config, metrics::Metrics, run, serve};
use fovea_store::Store;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::Client;
use kube::client::ClientBuilder;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// As logs and traces name it.
const PROGRAM: &str = "fovea-operator";
/// How audit logs and `managedFields` name it.
const AGENT: &str = concat!("fovea-operator/", env!("CARGO_PKG_VERSION"));

/// The operator, until it is told to stop.
pub(crate) async fn operate(flags: &ArgMatches) -> anyhow::Result<()> {
    let config = Config::from_arg_matches(flags)?;
    let telemetry = fovea_telemetry::start(PROGRAM, config.log_format)?;
    tracing::info!(?config, "starting");
    #[cfg(feature = "failpoints")]
    tracing::warn!(points = ?fovea_operator::kill_points::ALL, "a build for tests");

    let metrics = Arc::new(Metrics::new());
    let client = ClientBuilder::try_from(kubernetes().await?)?
        .with_layer(&metrics.upstreams().layer())
        .build();
    let store = Store::connect_observed(&config.store, Arc::clone(&metrics) as _).await?;
    let stop = stop_on_signal()?;
    let readiness = serve::Readiness::default();
    let listener = tokio::net::TcpListener::bind(config.health_listen)
        .await
        .with_context(|| format!("--health-listen {}", config.health_listen))?;
    let serving = tokio::spawn(serve::serve(
        listener,
        readiness.clone(),
        Arc::clone(&metrics),
        stop.clone(),
    ));

    run::run(config, client, store, readiness, metrics, stop.clone()).await?;
    stop.cancel();
    serving.await??;
    tokio::task::spawn_blocking(|| telemetry.stop()).await?;
    Ok(())
}

/// A release's pools, once.
pub(crate) async fn apply_pools(flags: &ArgMatches) -> anyhow::Result<()> {
    let config = ApplyPoolsConfig::from_arg_matches(flags)?;
    let telemetry = fovea_telemetry::start(PROGRAM, config.log_format)?;
    let applied = apply_pools::run(&config, Client::try_from(kubernetes().await?)?).await;
    tokio::task::spawn_blocking(|| telemetry.stop()).await?;
    Ok(applied?)
}

/// The way to the API server: a kubeconfig's, or that of the pod.
async fn kubernetes() -> anyhow::Result<kube::Config> {
    let mut config = kube::Config::infer()
        .await
        .context("no way to the API server: set KUBECONFIG")?;
    (config.headers).push((USER_AGENT, HeaderValue::from_static(AGENT)));
    Ok(config)
}

/// Cancelled by SIGTERM (Kubernetes) or SIGINT (a terminal).
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping");
        stopped.cancel();
    });
    Ok(stop)
}
