//! The life of a replica: wait for the lease, lead, hand over.

use crate::callback::{CallbackError, Callbacks};
use crate::config::Config;
use crate::dispatch::{Dispatcher, Parts};
use crate::events::Events;
use crate::installation::Bucket;
use crate::leader::{self, LeaderEpoch, LeaderError};
use crate::metrics::Metrics;
use crate::pool::authorities::TrustFiles;
use crate::pool::controller;
use crate::pool::load::Loads;
use crate::pool::published::PublishedPools;
use crate::serve::Readiness;
use crate::store_probe::StoreProbe;
use crate::sweep::Sweeper;
use fovea_proxy::{Proxies, ProxyError};
use fovea_store::{ForeignBucket, Store};
use fovea_trust::AuthoritiesError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Why a replica ended without a signal.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The lease is lost, or its flags contradict each other.
    #[error(transparent)]
    Leader(#[from] LeaderError),
    /// A flag of callbacks is invalid.
    #[error(transparent)]
    Callback(#[from] CallbackError),
    /// A variable of the environment is invalid.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The hub's authorities are unusable.
    #[error("--hub-ca-file {0}")]
    HubAuthorities(#[from] AuthoritiesError),
    /// The bucket belongs to another installation.
    #[error(transparent)]
    Bucket(#[from] ForeignBucket),
    /// The loop ended by itself.
    #[error("the dispatcher ended by itself: {0}")]
    Dispatcher(String),
}

/// Waits for the lease, then leads until `stop` or until the lease is lost. The dispatcher and its
/// tasks end before the lease is handed over, so nothing is written after it.
pub async fn run(
    config: Config,
    client: kube::Client,
    store: Store,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    // An invalid flag is refused before the lease is taken.
    let callbacks = Callbacks::new(client.clone(), &config.callback)?;
    let trust = TrustFiles::open(&store, config.pools.hub_ca_file.as_deref())?;
    let identity = format!("{}_{}", hostname(), uuid::Uuid::new_v4());
    let leadership = tokio::select! {
        acquired = leader::acquire(client.clone(), &config.namespace, config.leader.clone(), identity) => acquired?,
        () = stop.cancelled() => return Ok(()),
    };
    let epoch = leadership.epoch();
    tracing::info!(epoch = epoch.current().epoch, "leading");
    readiness.leading.store(true, Ordering::Relaxed);
    metrics.lease_taken(epoch.current().epoch);
    let bucket = Bucket {
        client: client.clone(),
        store: store.clone(),
        lease_uid: epoch.current().installation.clone(),
        lease: format!("{}/{}", config.namespace, config.leader.name),
        watch_namespace: config.watch_namespace.clone(),
    };
    let hand_over = CancellationToken::new();
    let holding = leadership.hold(hand_over.clone());
    let mut leading = Box::pin(async {
        bucket.refuse_foreign().await?;
        let metrics = Arc::clone(&metrics);
        let outside = (callbacks, trust);
        lead(config, &bucket, outside, epoch, readiness, metrics, stop).await
    });
    tokio::pin!(holding);
    tokio::select! {
        // The lease is lost: the process must end at once, with every task.
        held = &mut holding => {
            metrics.lease_ended(held.is_err());
            Ok(held?)
        }
        ended = &mut leading => {
            hand_over.cancel();
            let held = holding.await;
            metrics.lease_ended(held.is_err());
            held?;
            ended
        }
    }
}

/// Runs everything that only the leader runs, until `stop`.
async fn lead(
    config: Config,
    bucket: &Bucket,
    (callbacks, trust): (Callbacks, TrustFiles),
    epoch: LeaderEpoch,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let Bucket { client, store, .. } = bucket.clone();
    // A sweep in progress stays valid after the lease is handed over: it deletes by age and by
    // consistent reads.
    let sweeper = Sweeper::new(
        client.clone(),
        store.clone(),
        config.sweep.clone(),
        Arc::clone(&metrics),
        bucket.clone(),
        readiness.store.clone(),
    );
    let probe = StoreProbe {
        store: store.clone(),
        findings: readiness.store.clone(),
        metrics: Arc::clone(&metrics),
    };
    let probing = AbortOnDropHandle::new(tokio::spawn(probe.run()));
    let sweeping = AbortOnDropHandle::new(tokio::spawn(sweeper.run()));

    let events = Events::new(client.clone());
    let proxies = Proxies::from_env()?;
    let (publish, published) = watch::channel(PublishedPools::default());
    let (loads, reported) = watch::channel(Loads::default());
    let reconciling = AbortOnDropHandle::new(tokio::spawn(controller::run(controller::Parts {
        client: client.clone(),
        store: store.clone(),
        store_config: config.store.clone(),
        trust,
        config: config.pools.clone(),
        namespace: config.namespace.clone(),
        proxies,
        loads: reported,
        published: publish,
        events: events.clone(),
        metrics: Arc::clone(&metrics),
        findings: readiness.store.clone(),
    })));

    let parts = Parts {
        client,
        store,
        callbacks,
        retention: config.retention,
        quota: config.quota,
        restore: config.restore,
        max_result_refused: Duration::from_secs(config.result_refused_seconds.into()),
        reuse_retention: config.sweep.reuse_retention(),
        epoch,
        default_pool: config.default_pool_key(),
        pool_namespace: config.namespace,
        watch_namespace: config.watch_namespace,
        allowed_hosts: config.external_hosts,
        findings: readiness.store,
        ready: readiness.dispatching,
        heartbeat: readiness.heartbeat,
        metrics: Arc::clone(&metrics),
        published,
        events,
        loads,
    };
    let mut dispatching = AbortOnDropHandle::new(tokio::spawn(Dispatcher::run(parts, stop)));
    let ended = tokio::select! {
        foreign = bucket.is_foreign() => {
            dispatching.abort();
            // It ends as soon as it is aborted.
            let _ = (&mut dispatching).await;
            Err(foreign.into())
        }
        ended = &mut dispatching => ended.map_err(|error| RunError::Dispatcher(error.to_string())),
    };
    drop((probing, sweeping, reconciling));
    ended
}

fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
