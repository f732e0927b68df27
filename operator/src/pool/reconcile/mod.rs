//! Reconciles one pool in six steps: observe, inspect, plan, apply, publish, write the status.

mod apply;
mod inspect;
mod observe;
mod plan;
mod status;
mod verdict;
mod write_status;

#[cfg(test)]
mod observe_fixtures;

use super::PoolKey;
use super::access;
use super::applier::Applier;
use super::authorities::TrustFiles;
use super::autoscale::Autoscaler;
use super::build::Build;
use super::caches::Caches;
use super::load::Loads;
use super::message::Message;
use super::published::{PublishedPool, PublishedPools};
use super::scale::Leaving;
use crate::events::Events;
use crate::metrics::{Metrics, PoolScaling};
use crate::store_probe::StoreFindings;
use apply::Applied;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use fovea_crds::RunnerPool;
use fovea_store::Store;
use jiff::Timestamp;
use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Annotation by which Kubernetes picks the pods that it removes: the lowest cost first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The cost of pods that are to be removed; all others have none, which is 0.
const LEAVING_COST: &str = "-1";
/// A pool is reconciled this often although nothing has changed.
const RECONCILE_EVERY: Duration = Duration::from_mins(5);
/// Longest delay after an error.
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// Delays after errors; each is twice the one before.
const RETRIES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(LONGEST_RETRY)
    .without_max_times();

pub(super) struct Context {
    pub(super) client: Client,
    pub(super) store: Store,
    pub(super) build: Build,
    pub(super) trust: TrustFiles,
    pub(super) caches: Caches,
    pub(super) applier: Applier,
    pub(super) loads: watch::Receiver<Loads>,
    pub(super) published: watch::Sender<PublishedPools>,
    pub(super) memories: Mutex<HashMap<PoolKey, Memory>>,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
    pub(super) findings: StoreFindings,
}

/// What is remembered of a pool between reconciles; a new leader finds it out again.
#[derive(Default)]
pub(crate) struct Memory {
    leaving: Leaving,
    autoscaler: Autoscaler,
    start_faults: inspect::StartFaults,
    scaling: Option<PoolScaling>,
    /// Commits of the hub's revisions, by `<repo>@<revision>`.
    commits: BTreeMap<String, String>,
    /// When folders of the bucket were last found complete, by prefix.
    complete_folders: BTreeMap<String, Timestamp>,
    faults: Vec<Message>,
    /// When the status was last written, or writing it failed.
    status_written: Option<Timestamp>,
    /// Reconciles in a row with a failed request.
    failures: u32,
}

impl Context {
    /// Reconciles a pool. Errors go to its status, and are retried.
    pub(super) async fn reconcile(
        self: Arc<Self>,
        pool: Arc<DeserializeGuard<RunnerPool>>,
    ) -> Result<Action, Infallible> {
        let Ok(pool) = &pool.0 else {
            // The dispatcher reports objects that do not decode.
            return Ok(Action::await_change());
        };
        let key = super::key_of(pool);
        if pool.metadata.deletion_timestamp.is_some() {
            self.forget(&key);
            return Ok(Action::await_change());
        }
        if !self.caches.cover(pool) {
            return Ok(Action::await_change());
        }
        let mut memory = self.memories().remove(&key).unwrap_or_default();
        if pool.spec.external.is_some() {
            memory.forget_pods();
        }

        // 1. Observe (no client required).
        let time = (crate::time::now(), Instant::now());
        let trusted = self.trust.now();
        let loads = self.loads.borrow().clone();
        let mut observed = observe::observe(&self.caches, &loads, &memory, trusted, pool, time);
        // 2. Inspect (client required, reads only).
        let inspect_again = self.inspect(&mut observed, &mut memory).await;
        // 3. Plan (no client required).
        let plan = plan::plan(&observed, &mut memory, &self.build, access::make);
        // 4. Apply (client required).
        let mut applied = self.apply(&observed, plan).await;
        if let Some(leaving) = applied.leaving.take() {
            memory.leaving = leaving;
        }
        applied.faults.extend(self.store_fault());
        if let Some(due) = inspect_again {
            plan::earliest(&mut applied.due, due);
        }
        // A pool that was deleted meanwhile has no status, and nothing is remembered of it.
        if !self.caches.has(&key) {
            return Ok(Action::await_change());
        }
        // 5. Publish (no client required).
        self.publish(&key, &applied);
        // 6. Write the status (client required).
        let write_again = self.write_status(&observed, &applied, &mut memory).await;

        memory.log_faults(&key, &applied);
        let action = action(&applied, write_again, &mut memory);
        self.memories().insert(key, memory);
        self.measure();
        Ok(action)
    }

    /// Publishes the pool to the dispatcher, or takes it back where it is external.
    fn publish(&self, key: &PoolKey, applied: &Applied) {
        self.published
            .send_if_modified(|all| match applied.published.clone() {
                None => all.remove(key).is_some(),
                Some(pool) if all.get(key).is_some_and(|known| **known == pool) => false,
                Some(pool) => {
                    all.insert(key.clone(), Arc::<PublishedPool>::new(pool));
                    true
                }
            });
    }

    /// What is wrong with the store, which every pool's jobs need.
    fn store_fault(&self) -> Option<Message> {
        let state = self.findings.current();
        let (reason, why) = state.degradation().zip(state.complaint())?;
        Some(Message::new(reason, why))
    }

    fn measure(&self) {
        let memories = self.memories();
        let scaling = memories.values().filter_map(|each| each.scaling.clone());
        self.metrics.scaling(&scaling.collect::<Vec<_>>());
    }

    fn forget(&self, key: &PoolKey) {
        self.memories().remove(key);
        self.measure();
        self.published
            .send_if_modified(|all| all.remove(key).is_some());
    }

    /// Forgets the pools and objects that no longer exist.
    pub(super) fn sweep(&self) {
        self.memories().retain(|key, _| self.caches.has(key));
        self.measure();
        self.published.send_if_modified(|all| {
            let before = all.len();
            all.retain(|key, _| self.caches.has(key));
            all.len() != before
        });
        self.applier.keep(|uid| self.caches.has_uid(uid));
    }

    fn memories(&self) -> MutexGuard<'_, HashMap<PoolKey, Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Forgets all but the status of a pool that is external.
    fn forget_pods(&mut self) {
        *self = Self {
            status_written: self.status_written,
            failures: self.failures,
            ..Self::default()
        };
    }

    /// Logs faults when they begin or change, not at each reconcile.
    fn log_faults(&mut self, key: &PoolKey, applied: &Applied) {
        let faults = &applied.faults;
        if self.faults != *faults && !faults.is_empty() {
            let PoolKey { name, namespace } = key;
            tracing::warn!(pool = name, namespace, ?faults, "the pool is degraded");
        }
        self.faults.clone_from(faults);
    }
}

/// When to reconcile again. `write_again`: when the status may be written again, if it has to be.
fn action(applied: &Applied, write_again: Option<Timestamp>, memory: &mut Memory) -> Action {
    // A little later, so that the time is surely over.
    let until = |due: Timestamp| {
        let wait = Duration::try_from(due.duration_since(crate::time::now())).unwrap_or_default();
        wait + Duration::from_millis(10)
    };
    let wait = if applied.failed {
        let wait = RETRIES.build().nth(memory.failures as usize);
        memory.failures = memory.failures.saturating_add(1);
        wait.unwrap_or(LONGEST_RETRY)
    } else {
        memory.failures = 0;
        let due = applied.due.map_or(RECONCILE_EVERY, until);
        due.min(RECONCILE_EVERY)
    };
    Action::requeue(write_again.map_or(wait, |due| wait.min(until(due))))
}
