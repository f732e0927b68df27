//! Batches in the loop: which are under way, and which of them gets the next free place on a runner.
//!
//! Each batch is a task of its own ([`run`]), as an attempt is. It plans, keeps count of its ranges and writes its
//! status; the loop grants it places on runners, in the order of the queue of its pool.

mod ending;
mod planning;
mod reuse;
mod run;
mod shard;
mod spent;
mod work;

use super::Dispatcher;
use super::attempt::RunnerWas;
use super::costs::Cost;
use super::fleet::Chosen;
use super::queue::Waiting;
use super::turns::Turn;
use crate::job::decide::{Ending, Placement};
use crate::pool::PoolKey;
use crate::time::later;
use fovea_crds::{InferenceJob, ServedModel};
use jiff::SignedDuration;
use run::BatchRun;
use spent::Spent;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Bound on the batches of one namespace under way. Further ones wait.
const MAX_BATCHES_OF_NAMESPACE: usize = 16;

/// Bound on the batches under way of all namespaces.
const MAX_BATCHES: usize = 256;

/// Wait before a batch for which there was no room is reconciled again.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(2);

/// Grants on their way to a batch. More of them than places are never granted at once.
const GRANTS: usize = 1024;

/// What a batch and its attempts report to the loop.
#[derive(Debug)]
pub(super) enum BatchEvent {
    /// The batch can use so many places in all, those that it has among them.
    Usable {
        uid: String,
        places: u32,
        left: Left,
    },
    /// A place is free again.
    Released(Released),
}

/// What is left of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub pictures: u64,
    /// Pictures that have been done since this operator became leader. A lost runner takes some back.
    pub done: u64,
    /// Shards that could run at once.
    pub at_once: u32,
    /// When the last picture got its row, or the batch was begun.
    pub progressed: Instant,
}

#[derive(Debug)]
pub(super) struct Released {
    uid: String,
    pool: PoolKey,
    endpoint: String,
    turn: Turn,
    cost: Cost,
    was: RunnerWas,
}

/// A place on a runner for one shard; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub chosen: Chosen,
    /// Places of this pool in all.
    pub of: u32,
    /// The model on the runner.
    pub model: ServedModel,
    /// What the loop learns of the runner.
    pub was: RunnerWas,
    pub spent: Arc<Spent>,
    /// Whether it was used, even if its runner has measured nothing.
    pub is_used: bool,
    uid: String,
    pool: PoolKey,
    turn: Turn,
    granted: Instant,
    events: mpsc::UnboundedSender<BatchEvent>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let released = Released {
            uid: self.uid.clone(),
            pool: self.pool.clone(),
            endpoint: self.chosen.endpoint.clone(),
            turn: self.turn.clone(),
            cost: self.spent.cost(self.granted.elapsed(), self.is_used),
            was: self.was,
        };
        // This fails only where the loop has ended.
        let _ = self.events.send(BatchEvent::Released(released));
    }
}

/// What is left of the batches of one pool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PoolLeft {
    /// Batches that are being planned: how many pictures they have is not known.
    pub planning: u32,
    pub batches: u32,
    pub pictures: u64,
    /// Shards that could run at once.
    pub at_once: u32,
    /// Time since the latest picture of any of them.
    idle: Option<Duration>,
    /// Longest time since the latest picture of one that has shards on runners.
    stuck: Option<Duration>,
}

impl PoolLeft {
    /// Time without a picture: of the batch on runners that has had none for longest, or else of the pool.
    pub(super) fn without_progress(&self) -> Duration {
        self.stuck.or(self.idle).unwrap_or_default()
    }
}

/// The batches under way.
pub(super) struct Batches {
    by_uid: HashMap<String, Active>,
    /// As many events as there are places and batches are in it at most, and one of each batch in a second.
    events: mpsc::UnboundedSender<BatchEvent>,
}

struct Active {
    namespace: String,
    placement: Placement,
    /// As the batch sees it.
    job: watch::Sender<Arc<InferenceJob>>,
    grants: mpsc::Sender<Place>,
    usable: u32,
    granted: u32,
    /// `None` until it is planned.
    left: Option<Left>,
    /// Whether it runs on, and does not only end.
    is_going_on: bool,
}

impl Batches {
    pub(super) fn new(events: mpsc::UnboundedSender<BatchEvent>) -> Self {
        Self {
            by_uid: HashMap::new(),
            events,
        }
    }

    /// Tells a batch under way of its job's new spec, and of whether it is held.
    pub(super) fn update(&self, uid: &str, job: &Arc<InferenceJob>) {
        if let Some(batch) = self.by_uid.get(uid) {
            batch.job.send_if_modified(|known| {
                let is_new = known.spec != job.spec || known.is_held() != job.is_held();
                if is_new {
                    *known = Arc::clone(job);
                }
                is_new
            });
        }
    }

    /// What is left of the batches of each pool that are neither suspended nor held.
    pub(super) fn left(&self) -> BTreeMap<&PoolKey, PoolLeft> {
        let mut pools: BTreeMap<&PoolKey, PoolLeft> = BTreeMap::new();
        for batch in self.by_uid.values() {
            let wants_runners = match batch.left {
                Some(left) => left.at_once > 0,
                None => batch.is_going_on && batch.job.borrow().spec.parallelism != Some(0),
            };
            if !wants_runners {
                continue;
            }
            let pool = pools.entry(&batch.placement.pool).or_default();
            let Some(left) = batch.left else {
                pool.planning += 1;
                continue;
            };
            pool.batches += 1;
            pool.pictures = pool.pictures.saturating_add(left.pictures);
            pool.at_once = pool.at_once.saturating_add(left.at_once);
            let age = left.progressed.elapsed();
            pool.idle = Some(pool.idle.map_or(age, |idle| idle.min(age)));
            if batch.granted > 0 {
                pool.stuck = pool.stuck.max(Some(age));
            }
        }
        pools
    }

    fn has_room(&self, namespace: &str) -> bool {
        let of_namespace = |batch: &&Active| batch.namespace == namespace;
        self.by_uid.len() < MAX_BATCHES
            && self.by_uid.values().filter(of_namespace).count() < MAX_BATCHES_OF_NAMESPACE
    }
}

impl Dispatcher {
    /// Begins a batch, or goes on with it, if there is room for one more. `ending`: it is only to be ended,
    /// with what a former leader has done.
    pub(super) fn begin_batch(
        &mut self,
        uid: &str,
        job: &Arc<InferenceJob>,
        placement: &Placement,
        ending: Option<Ending>,
    ) {
        let namespace = job.metadata.namespace.clone().unwrap_or_default();
        let known = self.directory.namespaces.contains_key(&namespace);
        let may_begin = known && self.batches.has_room(&namespace);
        let is_going_on = ending.is_none();
        if is_going_on && !may_begin {
            let again = later(crate::time::now(), AGAIN_AFTER);
            return self.book.wake_at(uid, again);
        }
        self.pools.unqueue(uid);
        let (wishes, job_now) = watch::channel(Arc::clone(job));
        let (grants, granted) = mpsc::channel(GRANTS);
        let (abort, aborted) = oneshot::channel();
        let batch = BatchRun {
            uid: uid.to_owned(),
            job: InferenceJob::clone(job),
            wishes: job_now,
            placement: placement.clone(),
            places: granted,
            events: self.batches.events.clone(),
            ending,
            folders: Arc::clone(&self.folders),
            answers: Arc::clone(&self.answers),
            writer: self.writer.clone(),
            store: self.parts.store.clone(),
            store_check: Arc::clone(&self.store_check),
            findings: self.parts.findings.clone(),
            metrics: Arc::clone(&self.parts.metrics),
        };
        self.retention.started(uid, &namespace);
        // What only ends is not ended twice.
        let abort = is_going_on.then_some(abort);
        let active = Active {
            namespace: namespace.clone(),
            placement: placement.clone(),
            job: wishes,
            grants,
            usable: 0,
            granted: 0,
            left: None,
            is_going_on,
        };
        self.batches.by_uid.insert(uid.to_owned(), active);
        let running = Box::pin(batch.run(aborted));
        self.start_write(uid.to_owned(), namespace, abort, running);
        self.book.clear_timer(uid);
        // In flight now: this sets the timer for its active deadline.
        self.reconcile(uid);
    }

    /// The task of a batch has ended.
    pub(super) fn batch_ended(&mut self, uid: &str) {
        if let Some(batch) = self.batches.by_uid.remove(uid) {
            self.pools.unqueue_shards(&batch.placement.pool, uid);
        }
    }

    pub(super) fn on_batch(&mut self, event: BatchEvent) {
        match event {
            BatchEvent::Usable { uid, places, left } => {
                if let Some(batch) = self.batches.by_uid.get_mut(&uid) {
                    batch.usable = places;
                    let before = batch.left.replace(left).map_or(0, |left| left.done);
                    let done = left.done.saturating_sub(before);
                    self.pools.batch_pictures_done(&batch.placement.pool, done);
                }
                self.queue_shards(&uid);
            }
            BatchEvent::Released(released) => {
                let Released {
                    uid,
                    pool,
                    endpoint,
                    turn,
                    cost,
                    was,
                } = released;
                let on = (&pool, &*endpoint);
                self.pools.shard_released(on, (&turn, cost), was);
                if let Some(batch) = self.batches.by_uid.get_mut(&uid) {
                    batch.granted = batch.granted.saturating_sub(1);
                }
                self.queue_shards(&uid);
            }
        }
    }

    /// Queues the batch for a place, if it can use one more.
    fn queue_shards(&mut self, uid: &str) {
        let Some(batch) = self.batches.by_uid.get(uid) else {
            return;
        };
        let pool = &batch.placement.pool;
        if batch.granted >= batch.usable {
            return self.pools.unqueue_shards(pool, uid);
        }
        let job = batch.job.borrow();
        let waiting = Waiting {
            uid: uid.to_owned(),
            namespace: batch.namespace.clone(),
            model: batch.placement.model.clone(),
            priority: job.spec.priority,
            created: job.created(),
        };
        self.pools.enqueue_shard(pool, waiting);
    }

    /// Grants places on runners to batches while there are free ones.
    pub(super) fn grant_places(&mut self) {
        while let Some((pool, waiting, turn)) = self.pools.next_shard() {
            let Some(batch) = self.batches.by_uid.get_mut(&waiting.uid) else {
                self.pools.shard_not_begun(&pool, &turn);
                continue;
            };
            let Some((chosen, of, model)) = self.pools.choose_for_shard(&batch.placement) else {
                self.pools.shard_not_begun(&pool, &turn);
                self.pools.enqueue_shard(&pool, waiting);
                return;
            };
            let place = Place {
                chosen,
                of,
                model,
                was: RunnerWas::Fine,
                spent: Arc::default(),
                is_used: true,
                uid: waiting.uid.clone(),
                pool,
                turn,
                granted: Instant::now(),
                events: self.batches.events.clone(),
            };
            batch.granted += 1;
            // A place that the batch cannot take is free again.
            if let Err(error) = batch.grants.try_send(place) {
                error.into_inner().is_used = false;
            }
            self.queue_shards(&waiting.uid);
        }
    }
}

#[cfg(test)]
mod tests;
