//! The pools at work: each has a queue, a fleet, and links to its runners.

use super::attempt::RunnerWas;
use super::batch::PoolLeft;
use super::costs::Cost;
use super::fleet::{Chosen, Fleet};
use super::links::{Linking, Report};
use super::queue::{Queue, Shares, Waiting};
use super::target::{Target, targets};
use super::turns::{Turn, Turns};
use crate::job::decide::Placement;
use crate::pool::PoolKey;
use crate::pool::load::{Health, Load, Loads};
use crate::pool::published::PublishedPool;
use fovea_crds::{InferenceJob, RunnerPool, RunnerPoolSpec, ServedModel};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

pub(super) struct Pools {
    linking: Linking,
    by_key: HashMap<PoolKey, Pool>,
    /// In which pool's queue each waiting job is.
    queued_in: HashMap<String, PoolKey>,
    /// Namespaces that start no job in any pool.
    closed: HashSet<String>,
}

#[derive(Default)]
struct Pool {
    jobs: Turns,
    /// Batches that can use one more place for a shard. A namespace's share of single jobs and that of shards do
    /// not depend on one another.
    shards: Turns,
    shares: Shares,
    fleet: Fleet,
    links: HashMap<String, (Target, AbortOnDropHandle<()>)>,
    external: bool,
    /// Whether the runners are known, and each has been checked once.
    connected: bool,
    /// Received from the pool controller, where the pool has pods.
    published: Option<Arc<PublishedPool>>,
    work: Work,
}

/// Work of a pool's runners since this operator became leader.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    ended: u64,
    /// Time that they spent on runners, in seconds, summed.
    busy_seconds: f64,
    /// Pictures of batches that got their rows.
    pictures: u64,
    /// Time that runners had at least one shard, in seconds, summed over runners.
    shard_seconds: f64,
}

impl Pools {
    pub(super) fn new(linking: Linking) -> Self {
        Self {
            linking,
            by_key: HashMap::new(),
            queued_in: HashMap::new(),
            closed: HashSet::new(),
        }
    }

    pub(super) fn apply(&mut self, key: &PoolKey, object: &RunnerPool) {
        let pool = self.by_key.entry(key.clone()).or_default();
        let fairness = &object.spec.fairness;
        pool.shares = Shares {
            weights: fairness
                .weights
                .iter()
                .map(|(name, weight)| (name.clone(), *weight))
                .collect(),
            max_in_flight: fairness.max_in_flight,
            closed: self.closed.clone(),
        };
        let external = object.spec.external.is_some();
        // Other runners, of which nothing is known yet.
        pool.connected &= pool.external == external;
        pool.external = external;
        pool.connect(key, &object.spec, &self.linking);
    }

    /// Connects to the runners that the pool controller has published.
    pub(super) fn publish(
        &mut self,
        key: &PoolKey,
        object: &RunnerPool,
        published: Option<Arc<PublishedPool>>,
    ) {
        if let Some(pool) = self.by_key.get_mut(key)
            && pool.published != published
        {
            pool.published = published;
            pool.connect(key, &object.spec, &self.linking);
        }
    }

    /// Removes a pool. The caller reconciles its waiting jobs.
    pub(super) fn remove(&mut self, key: &PoolKey) {
        self.by_key.remove(key);
        self.queued_in.retain(|_, queued_in| queued_in != key);
    }

    pub(super) fn report(&mut self, report: Report) {
        let Report {
            pool,
            endpoint,
            check,
        } = report;
        if let Some(pool) = self.by_key.get_mut(&pool) {
            pool.fleet.report(&endpoint, check);
            pool.connected |= pool.knows_its_runners();
        }
    }

    /// Queues a job, or moves it if it has changed.
    pub(super) fn enqueue(&mut self, uid: &str, job: &InferenceJob, placement: &Placement) {
        if self
            .queued_in
            .get(uid)
            .is_some_and(|queued_in| *queued_in != placement.pool)
        {
            self.unqueue(uid);
        }
        let Some(pool) = self.by_key.get_mut(&placement.pool) else {
            return;
        };
        let waiting = Waiting {
            uid: uid.to_owned(),
            namespace: job.metadata.namespace.clone().unwrap_or_default(),
            model: placement.model.clone(),
            priority: job.spec.priority,
            created: job.created(),
        };
        pool.jobs.push(waiting, Instant::now());
        self.queued_in
            .insert(uid.to_owned(), placement.pool.clone());
    }

    /// Holds the jobs of these namespaces back, and of no others.
    pub(super) fn close(&mut self, namespaces: HashSet<String>) {
        if namespaces == self.closed {
            return;
        }
        for pool in self.by_key.values_mut() {
            pool.shares.closed.clone_from(&namespaces);
            for reopened in self.closed.difference(&namespaces) {
                pool.jobs.queue.reopened(reopened);
                pool.shards.queue.reopened(reopened);
            }
        }
        self.closed = namespaces;
    }

    /// The waiting jobs of these namespaces.
    pub(super) fn waiting_in(&self, namespaces: &HashSet<&String>) -> Vec<String> {
        let waiting = self.by_key.values().flat_map(|pool| pool.jobs.queue.iter());
        let of_these = waiting.filter(|job| namespaces.contains(&job.namespace));
        of_these.map(|job| job.uid.clone()).collect()
    }

    pub(super) fn waiting(&self) -> usize {
        self.queued_in.len()
    }

    pub(super) fn unqueue(&mut self, uid: &str) {
        if let Some(pool) = self
            .queued_in
            .remove(uid)
            .and_then(|key| self.by_key.get_mut(&key))
        {
            pool.jobs.queue.remove(uid);
        }
    }

    /// The next job that a runner has room for.
    pub(super) fn next(&mut self) -> Option<(Placement, Waiting, Turn)> {
        let now = Instant::now();
        let (key, waiting, turn) = self.by_key.iter_mut().find_map(|(key, pool)| {
            let fleet = &pool.fleet;
            let has_room = |model: &str| fleet.has_room(model);
            let next = pool.jobs.next(&pool.shares, fleet.places(), now, has_room);
            let (waiting, turn) = next?;
            Some((key.clone(), waiting, turn))
        })?;
        self.queued_in.remove(&waiting.uid);
        let placement = Placement {
            pool: key,
            model: waiting.model.clone(),
        };
        Some((placement, waiting, turn))
    }

    /// Takes a runner's slot for a job that [`Pools::next`] gave.
    pub(super) fn choose(&mut self, placement: &Placement, avoid: Option<&str>) -> Option<Chosen> {
        self.by_key
            .get_mut(&placement.pool)?
            .fleet
            .choose(&placement.model, avoid)
    }

    /// A job that [`Pools::next`] gave found no runner after all.
    pub(super) fn not_dispatched(&mut self, pool: &PoolKey, turn: &Turn) {
        if let Some(pool) = self.by_key.get_mut(pool) {
            (pool.jobs).give_back(turn, Cost::Nothing, &pool.shares, Instant::now());
        }
    }

    /// Records the end of a job on its runner.
    pub(super) fn released(
        &mut self,
        (pool, endpoint): (&PoolKey, &str),
        (turn, cost): (&Turn, Cost),
        was: RunnerWas,
        took: Duration,
    ) {
        if let Some(pool) = self.by_key.get_mut(pool) {
            (pool.jobs).give_back(turn, cost, &pool.shares, Instant::now());
            pool.fleet.released(endpoint, was);
            if was == RunnerWas::Fine {
                pool.work.ended += 1;
                pool.work.busy_seconds += took.as_secs_f64();
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PoolKey, &Queue, &Fleet)> {
        let pools = self.by_key.iter();
        pools.map(|(key, pool)| (key, &pool.jobs.queue, &pool.fleet))
    }

    /// `left`: what is left of each pool's batches.
    pub(super) fn loads(&self, left: &BTreeMap<&PoolKey, PoolLeft>) -> Loads {
        let pools = self.by_key.iter();
        pools
            .map(|(key, pool)| {
                let left = left.get(key).copied().unwrap_or_default();
                (key.clone(), pool.load(left))
            })
            .collect()
    }

    /// Queues a batch for one more place.
    pub(super) fn enqueue_shard(&mut self, key: &PoolKey, batch: Waiting) {
        if let Some(pool) = self.by_key.get_mut(key) {
            pool.shards.push(batch, Instant::now());
        }
    }

    pub(super) fn unqueue_shards(&mut self, key: &PoolKey, uid: &str) {
        if let Some(pool) = self.by_key.get_mut(key) {
            pool.shards.queue.remove(uid);
        }
    }

    /// The next batch that a runner has room for a shard of.
    pub(super) fn next_shard(&mut self) -> Option<(PoolKey, Waiting, Turn)> {
        let now = Instant::now();
        self.by_key.iter_mut().find_map(|(key, pool)| {
            let fleet = &pool.fleet;
            let has_room = |model: &str| fleet.has_room_for_shard(model);
            let next = (pool.shards).next(&pool.shares, fleet.shard_places(), now, has_room);
            let (waiting, turn) = next?;
            Some((key.clone(), waiting, turn))
        })
    }

    /// Takes a place for a shard of the batch that [`Pools::next_shard`] gave; with the number of such places of
    /// the pool, and the model on the runner.
    pub(super) fn choose_for_shard(
        &mut self,
        placement: &Placement,
    ) -> Option<(Chosen, u32, ServedModel)> {
        let fleet = &mut self.by_key.get_mut(&placement.pool)?.fleet;
        let places = fleet.shard_places();
        let (chosen, model) = fleet.choose_for_shard(&placement.model)?;
        Some((chosen, places, model))
    }

    /// A batch that [`Pools::next_shard`] gave has begun no shard.
    pub(super) fn shard_not_begun(&mut self, pool: &PoolKey, turn: &Turn) {
        if let Some(pool) = self.by_key.get_mut(pool) {
            (pool.shards).give_back(turn, Cost::Nothing, &pool.shares, Instant::now());
        }
    }

    /// Records the end of an attempt at a shard.
    pub(super) fn shard_released(
        &mut self,
        (pool, endpoint): (&PoolKey, &str),
        (turn, cost): (&Turn, Cost),
        was: RunnerWas,
    ) {
        if let Some(pool) = self.by_key.get_mut(pool) {
            (pool.shards).give_back(turn, cost, &pool.shares, Instant::now());
            pool.fleet.shard_released(endpoint, was);
        }
    }

    /// Runners have done so many more pictures of batches.
    pub(super) fn batch_pictures_done(&mut self, pool: &PoolKey, pictures: u64) {
        if let Some(pool) = self.by_key.get_mut(pool) {
            pool.work.pictures += pictures;
        }
    }

    /// Adds the time since the last call to that of runners with shards.
    pub(super) fn pass_time(&mut self, passed: Duration) {
        for pool in self.by_key.values_mut() {
            let runners = f64::from(pool.fleet.runners_with_shards());
            pool.work.shard_seconds += runners * passed.as_secs_f64();
        }
    }

    /// Jobs of every pool that could begin with more free runners. Costly ones that leave room to others are among
    /// them: their share grows with the runners.
    pub(super) fn runnable(&self) -> impl Iterator<Item = (&PoolKey, usize)> {
        let pools = self.by_key.iter();
        pools.map(|(key, pool)| (key, pool.jobs.queue.runnable(&pool.shares)))
    }
}

impl Pool {
    /// Whether the runners are known and each has been checked once.
    fn knows_its_runners(&self) -> bool {
        (self.external || self.published.is_some()) && self.fleet.is_checked()
    }

    fn load(&self, left: PoolLeft) -> Load {
        let slots = self.fleet.health().find_map(|health| match health {
            Health::Up {
                slots, shard_slots, ..
            } => Some((*slots, *shard_slots)),
            Health::Down(_) | Health::Refusing(_) | Health::Starting(_) | Health::Unchecked => None,
        });
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Load {
            waiting: count(self.jobs.queue.len()),
            queued: count(self.jobs.queue.runnable(&self.shares)),
            running: self.fleet.in_flight(),
            ended: self.work.ended,
            busy_seconds: self.work.busy_seconds,
            slots: slots.map(|(slots, _)| slots),
            // A batch that is being planned counts as one picture: its first runner starts meanwhile.
            batch_pictures_left: left.pictures.saturating_add(left.planning.into()),
            shards_runnable: left.at_once.saturating_add(left.planning),
            shards_running: self.fleet.shards_in_flight(),
            shard_slots: slots.map(|(_, shard_slots)| shard_slots),
            batch_pictures_done: self.work.pictures,
            batch_busy_seconds: self.work.shard_seconds,
            external: self.external,
            connected: self.connected,
            runners: self.fleet.loads(),
        }
    }

    /// Keeps the links that still apply, ends the others, and adds missing ones.
    fn connect(&mut self, key: &PoolKey, spec: &RunnerPoolSpec, linking: &Linking) {
        let mut missing = targets(spec, self.published.as_deref());
        let endpoints: Vec<String> = missing.keys().cloned().collect();
        self.fleet.keep(&endpoints);
        for (endpoint, target) in &missing {
            self.fleet.leave(endpoint, target.is_leaving());
        }
        (self.links).retain(|endpoint, (target, _)| match missing.get(endpoint) {
            Some(same) if same.shares_link_with(target) => missing.remove(endpoint).is_some(),
            _ => false,
        });
        for (endpoint, target) in missing {
            let link = linking.link(key, &endpoint, target.clone());
            self.links.insert(endpoint, (target, link));
        }
        self.connected |= self.knows_its_runners();
    }
}
