//! Keeps what belongs to each pool with pods as its spec says, while this replica leads.
//!
//! Watches say which pools are to be looked at ([`caches`](super::caches)), and each look is
//! [`reconcile`](super::reconcile). What the dispatcher needs of it goes out as [`Provisions`], and how
//! much there is to do comes in as [`Loads`]; nothing else is shared with it.

use super::apply::Applier;
use super::build::Build;
use super::caches::{Caches, Wake};
use super::config::PoolsConfig;
use super::provision::{Loads, Provisions};
use super::reconcile::Context;
use crate::metrics::Metrics;
use fovea_crds::RunnerPool;
use fovea_store::{Store, StoreConfig};
use futures::{StreamExt as _, stream};
use kube::Client;
use kube::ResourceExt as _;
use kube::runtime::controller::{Action, Config, Error, applier};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// Changes that may wait to be looked at; the watches wait beyond it.
const INBOX: usize = 256;
/// Pools looked at at the same time.
const AT_A_TIME: u16 = 8;
/// Changes that come together make one look.
const TOGETHER: Duration = Duration::from_millis(50);
/// How often what is remembered of deleted pools is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// What the controller is made of.
pub struct Parts {
    /// For watches and writes.
    pub client: Client,
    /// For models' weights.
    pub store: Store,
    /// Where that is.
    pub store_config: StoreConfig,
    /// Its flags.
    pub config: PoolsConfig,
    /// The pools' namespace, which is the operator's own.
    pub namespace: String,
    /// From the dispatcher.
    pub loads: watch::Receiver<Loads>,
    /// To the dispatcher.
    pub provisions: watch::Sender<Provisions>,
    /// What pools are scaled to, for who scrapes.
    pub metrics: Arc<Metrics>,
}

/// Runs until it is dropped.
pub async fn run(parts: Parts) {
    let Parts {
        client,
        store,
        store_config,
        config,
        namespace,
        loads,
        provisions,
        metrics,
    } = parts;
    if !config.names_a_store() {
        tracing::warn!(
            "no --store-cidr, --store-namespace or --store-label: where the network enforces policies, runners reach no object store"
        );
    }
    let (wake, woken) = mpsc::channel(INBOX);
    let context = Arc::new(Context {
        caches: Caches::start(&client, &namespace, &wake),
        applier: Applier::new(client.clone()),
        build: Build::new(config, &namespace, &store_config),
        memories: Mutex::default(),
        client,
        store,
        loads: loads.clone(),
        provisions,
        metrics,
    });
    let looking = look(Arc::clone(&context), woken);
    let following = follow(Arc::clone(&context), loads, wake);
    tokio::join!(looking, following);
}

async fn look(context: Arc<Context>, woken: mpsc::Receiver<Wake>) {
    // The watches' changes wait in the meantime, and make one look at each pool.
    let caches = &context.caches;
    let mut woken = ReceiverStream::new(woken);
    let filled = async {
        if caches.filled().await.is_err() {
            tracing::error!("a watch of what pools own has ended");
        }
    };
    tokio::pin!(filled);
    loop {
        tokio::select! {
            () = &mut filled => break,
            Some(_) = woken.next() => {}
        }
    }
    let all = stream::iter(caches.woken(&Wake::All));
    let following = Arc::clone(&context);
    let later = woken.flat_map(move |wake| stream::iter(following.caches.woken(&wake)));
    let queue = all.chain(later).map(Ok::<_, Infallible>);
    let looks = applier(
        |pool, context: Arc<Context>| Box::pin(context.reconcile(pool)),
        |_, never: &Infallible, _| -> Action { match *never {} },
        Arc::clone(&context),
        caches.pools.clone(),
        queue,
        Config::default().concurrency(AT_A_TIME).debounce(TOGETHER),
    );
    let mut looks = Box::pin(looks);
    while let Some(looked) = looks.next().await {
        match looked {
            Ok((pool, _)) => tracing::debug!(pool = pool.name, "looked at"),
            // Deleted while it waited for its turn.
            Err(Error::ObjectNotFound(_)) => context.sweep(),
            Err(error) => tracing::warn!(%error, "a pool could not be looked at"),
        }
    }
}

/// Has pools looked at whose number of runners depends on what there is to do.
async fn follow(
    context: Arc<Context>,
    mut loads: watch::Receiver<Loads>,
    wake: mpsc::Sender<Wake>,
) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = loads.changed() => {
                if changed.is_err() {
                    return;
                }
                loads.mark_unchanged();
                for pool in context.caches.pools.state() {
                    let has_pods = |pool: &RunnerPool| pool.spec.external.is_none();
                    let follows = pool.0.as_ref().is_ok_and(has_pods);
                    if follows && wake.send(Wake::Pool(pool.name_any())).await.is_err() {
                        return;
                    }
                }
            }
            _ = sweep.tick() => context.sweep(),
        }
    }
}
