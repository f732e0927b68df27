//! The pool controller: reconciles the pools, their objects and their statuses, while this replica
//! leads.
//!
//! Watches ([`caches`](super::caches)) and changed [`Loads`] queue pools for
//! [`reconcile`](super::reconcile), which publishes what the dispatcher needs as [`PublishedPools`].

use super::applier::Applier;
use super::authorities::{CHECK_EVERY, TrustFiles};
use super::build::Build;
use super::caches::{Caches, Wake};
use super::config::PoolsConfig;
use super::load::Loads;
use super::published::PublishedPools;
use super::reconcile::Context;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::store_probe::StoreFindings;
use fovea_proxy::Proxies;
use fovea_store::{Store, StoreConfig};
use futures::{StreamExt as _, stream};
use kube::Client;
use kube::runtime::controller::{Action, Config, Error, applier};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// Changes in the queue; the watches wait while it is full.
const INBOX: usize = 256;
/// Pools reconciled at a time.
const AT_A_TIME: u16 = 8;
/// Changes of one pool within this time cause one reconcile.
const TOGETHER: Duration = Duration::from_millis(50);
/// Interval at which the memory of deleted pools is freed.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

pub(crate) struct Parts {
    pub client: Client,
    pub store: Store,
    /// The store's address, for network policies.
    pub store_config: StoreConfig,
    pub trust: TrustFiles,
    pub config: PoolsConfig,
    /// The pools' namespace, which is the operator's own.
    pub namespace: String,
    /// Of the operator's environment.
    pub proxies: Proxies,
    pub loads: watch::Receiver<Loads>,
    pub published: watch::Sender<PublishedPools>,
    pub events: Events,
    pub metrics: Arc<Metrics>,
    pub findings: StoreFindings,
}

pub(crate) async fn run(parts: Parts) {
    let Parts {
        client,
        store,
        store_config,
        trust,
        config,
        namespace,
        proxies,
        loads,
        published,
        events,
        metrics,
        findings,
    } = parts;
    let build = Build::new(config, &namespace, &store_config, proxies);
    if !build.proxies.is_empty() && !build.config.names_a_proxy() {
        tracing::warn!(
            "no --proxy-cidr, --proxy-namespace or --proxy-label: where the network enforces policies, runners and imports reach no proxy"
        );
    }
    if !build.config.names_a_store() && !build.store_is_proxied {
        tracing::warn!(
            "no --store-cidr, --store-namespace or --store-label: where the network enforces policies, runners reach no object store"
        );
    }
    let (wake, woken) = mpsc::channel(INBOX);
    let context = Arc::new(Context {
        caches: Caches::start(&client, &namespace, &wake, metrics.watches()),
        applier: Applier::new(client.clone()),
        build,
        trust,
        memories: Mutex::default(),
        client,
        store,
        loads: loads.clone(),
        published,
        events,
        metrics,
        findings,
    });
    let reconciling = reconcile_all(Arc::clone(&context), woken);
    let authorities = follow_authorities(Arc::clone(&context), wake.clone());
    let following = follow_loads(Arc::clone(&context), loads, wake);
    tokio::join!(reconciling, authorities, following);
}

async fn reconcile_all(context: Arc<Context>, woken: mpsc::Receiver<Wake>) {
    // A change before the caches are filled is only for pools that own nothing; all are reconciled then.
    let known = {
        let context = Arc::clone(&context);
        stream::once(async move {
            if context.caches.pools.wait_until_ready().await.is_err() {
                tracing::error!("the watch of pools has ended");
            }
            Wake::All
        })
    };
    let filled = {
        let context = Arc::clone(&context);
        stream::once(async move {
            if context.caches.filled().await.is_err() {
                tracing::error!("a watch of what pools own has ended");
            }
            Wake::All
        })
    };
    let wakes = stream::select(stream::select(known, filled), ReceiverStream::new(woken));
    let following = Arc::clone(&context);
    let queue = wakes.flat_map(move |wake| stream::iter(following.caches.woken(&wake)));
    let reconciles = applier(
        |pool, context: Arc<Context>| Box::pin(context.reconcile(pool)),
        |_, never: &Infallible, _| -> Action { match *never {} },
        Arc::clone(&context),
        context.caches.pools.clone(),
        queue.map(Ok::<_, Infallible>),
        Config::default().concurrency(AT_A_TIME).debounce(TOGETHER),
    );
    let mut reconciles = Box::pin(reconciles);
    while let Some(reconciled) = reconciles.next().await {
        match reconciled {
            Ok((pool, _)) => tracing::debug!(pool = pool.name, "reconciled"),
            // Deleted while it was queued.
            Err(Error::ObjectNotFound(_)) => context.sweep(),
            Err(error) => tracing::warn!(%error, "reconciling a pool failed"),
        }
    }
}

/// Reconciles every pool when the certificate authorities have changed.
async fn follow_authorities(context: Arc<Context>, wake: mpsc::Sender<Wake>) {
    let mut before = context.trust.now();
    let mut check = tokio::time::interval(CHECK_EVERY);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        check.tick().await;
        let now = context.trust.now();
        if now != before && wake.send(Wake::All).await.is_err() {
            return;
        }
        before = now;
    }
}

async fn follow_loads(
    context: Arc<Context>,
    mut loads: watch::Receiver<Loads>,
    wake: mpsc::Sender<Wake>,
) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = Loads::default();
    let mut findings = context.findings.subscribe();
    loop {
        tokio::select! {
            changed = loads.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = loads.borrow_and_update().clone();
                let changed = now.iter().filter(|(key, load)| before.get(key) != Some(load));
                for (key, _) in changed {
                    if wake.send(Wake::Pool(key.name.clone())).await.is_err() {
                        return;
                    }
                }
                before = now;
            }
            Ok(()) = findings.changed() => {
                if wake.send(Wake::All).await.is_err() {
                    return;
                }
            }
            _ = sweep.tick() => context.sweep(),
        }
    }
}
