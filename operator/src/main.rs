//! Wiring: configuration, logs, clients, then run until told to stop.

use anyhow::Context;
use clap::Parser;
use fovea_operator::{config::Config, metrics::Metrics, run, serve};
use fovea_store::Store;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::client::ClientBuilder;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How audit logs and `managedFields` name this program.
const AGENT: &str = concat!("fovea-operator/", env!("CARGO_PKG_VERSION"));

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    #[cfg(feature = "failpoints")]
    let _held = fail::FailScenario::setup();
    let config = Config::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok()
        .context("TLS was set up twice")?;
    let telemetry = fovea_telemetry::start("fovea-operator", config.log_format)?;
    tracing::info!(?config, "starting");
    #[cfg(feature = "failpoints")]
    tracing::warn!(points = ?fovea_operator::kill_points::ALL, "a build for tests");

    let mut kubernetes = kube::Config::infer()
        .await
        .context("no way to the API server: set KUBECONFIG")?;
    (kubernetes.headers).push((USER_AGENT, HeaderValue::from_static(AGENT)));
    let metrics = Arc::new(Metrics::new());
    let client = ClientBuilder::try_from(kubernetes)?
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
