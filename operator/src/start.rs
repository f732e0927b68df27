//! Wiring: log and clients, then run until done or until a signal.

use fovea_cluster::{READ_LIMIT, kube_config};
use fovea_operator::apply_pools::{self, ApplyPoolsConfig};
use fovea_operator::{config::Config, metrics::Metrics, run, serve, time};
use fovea_process::{Runtime, serve_admin};
use fovea_store::Store;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::Client;
use kube::client::ClientBuilder;
use std::process::ExitCode;
use std::sync::Arc;

/// The program's name in logs and traces.
const PROGRAM: &str = "fovea-operator";
/// The program's name in audit logs and `managedFields`.
const AGENT: &str = concat!("fovea-operator/", env!("CARGO_PKG_VERSION"));

/// Runs the operator until a signal, or until it loses the lease. The error of a lost lease returns
/// at once: nothing is waited for, not even the last spans.
pub(crate) async fn operate(config: Config) -> anyhow::Result<()> {
    let runtime = Runtime::start(PROGRAM, config.log_format)?;
    tracing::info!(?config, "starting");
    #[cfg(feature = "failpoints")]
    tracing::warn!(points = ?fovea_operator::kill_points::ALL, "a build for tests");

    let metrics = Arc::new(Metrics::new());
    let client = ClientBuilder::try_from(kubernetes().await?)?
        .with_layer(&metrics.upstreams().layer())
        .with_layer(&time::clock().layer())
        .build();
    let store =
        Store::connect_timed(&config.store, Arc::clone(&metrics) as _, time::system_now).await?;
    let shutdown = runtime.shutdown_on_signal()?;
    let readiness = serve::Readiness::default();
    let listener = (runtime.bind("--health-listen", config.health_listen)).await?;
    let serving = tokio::spawn(serve_admin(
        listener,
        serve::router(readiness.clone(), Arc::clone(&metrics)),
        shutdown.clone(),
    ));

    run::run(config, client, store, readiness, metrics, shutdown.clone()).await?;
    shutdown.cancel();
    serving.await?;
    runtime.finish().await;
    Ok(())
}

/// Exit code of `apply-pools` when a pool does not come up; the chart's Job does not try again.
const OF_A_POOL: u8 = 3;

pub(crate) async fn apply_pools(config: ApplyPoolsConfig) -> anyhow::Result<ExitCode> {
    let runtime = Runtime::start(PROGRAM, config.log_format)?;
    let applied = apply_pools::run(&config, Client::try_from(kubernetes().await?)?).await;
    runtime.finish().await;
    match applied {
        Err(error) if error.is_of_a_pool() => {
            tracing::error!("{error}");
            Ok(OF_A_POOL.into())
        }
        applied => Ok(applied.map(|()| ExitCode::SUCCESS)?),
    }
}

/// Access to the API server: by a kubeconfig, or by the pod's service account.
async fn kubernetes() -> anyhow::Result<kube::Config> {
    let mut config = kube_config().await?;
    (config.headers).push((USER_AGENT, HeaderValue::from_static(AGENT)));
    // Bounds the requests that have no deadline of their own.
    config.read_timeout = Some(READ_LIMIT);
    config.reset_reader_on_write = true;
    Ok(config)
}
