//! The pools at work: each has a queue, a fleet, and links to its runners.

use super::fleet::{Chosen, Fleet};
use super::links::{Linking, Report};
use super::queue::{Queue, Shares, Waiting};
use super::target::{Target, targets};
use super::task::RunnerWas;
use crate::job::decide::Placement;
use crate::pool::provision::Provision;
use crate::pool::{PoolKey, status};
use fovea_crds::{InferenceJob, RunnerPool, RunnerPoolSpec, RunnerPoolStatus};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// All pools.
pub(super) struct Pools {
    linking: Linking,
    by_key: HashMap<PoolKey, Pool>,
    /// In which pool's queue each waiting job is.
    queued_in: HashMap<String, PoolKey>,
}

#[derive(Default)]
struct Pool {
    queue: Queue,
    shares: Shares,
    /// What each runner is to serve, by name.
    models: Vec<String>,
    fleet: Fleet,
    links: HashMap<String, (Target, AbortOnDropHandle<()>)>,
    /// What the pools' controller has found, where the pool has pods.
    provision: Option<Arc<Provision>>,
    work: Work,
}

/// What a pool's runners have done since this operator leads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// Jobs that have left their runner.
    pub(super) ended: u64,
    /// Seconds that they were on it, together.
    pub(super) busy_seconds: f64,
}

/// What there is of one pool, and what there is to do.
#[derive(Clone, Copy)]
pub(super) struct Provided<'a> {
    pub(super) queue: &'a Queue,
    pub(super) shares: &'a Shares,
    /// What each runner is to serve.
    pub(super) models: &'a [String],
    pub(super) fleet: &'a Fleet,
    pub(super) work: Work,
    /// What the pools' controller has found, where the pool has pods.
    pub(super) provision: Option<&'a Provision>,
}

impl Pools {
    /// No pools yet.
    pub(super) fn new(linking: Linking) -> Self {
        Self {
            linking,
            by_key: HashMap::new(),
            queued_in: HashMap::new(),
        }
    }

    /// A pool is there, or has another spec.
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
        };
        let models = object.spec.models.iter();
        pool.models = models.map(|model| model.name.clone()).collect();
        pool.connect(key, &object.spec, &self.linking);
    }

    /// The pools' controller has found something else.
    pub(super) fn provide(
        &mut self,
        key: &PoolKey,
        object: &RunnerPool,
        provision: Option<Arc<Provision>>,
    ) {
        if let Some(pool) = self.by_key.get_mut(key)
            && pool.provision != provision
        {
            pool.provision = provision;
            pool.connect(key, &object.spec, &self.linking);
        }
    }

    /// A pool is gone; its waiting jobs have to be looked at by the caller.
    pub(super) fn remove(&mut self, key: &PoolKey) {
        self.by_key.remove(key);
        self.queued_in.retain(|_, queued_in| queued_in != key);
    }

    /// A runner has been asked.
    pub(super) fn report(&mut self, report: Report) {
        let Report {
            pool,
            endpoint,
            health,
        } = report;
        if let Some(pool) = self.by_key.get_mut(&pool) {
            pool.fleet.report(&endpoint, health);
        }
    }

    /// Lets a job wait for its turn, or moves it where it has changed.
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
        pool.queue.push(Waiting {
            uid: uid.to_owned(),
            namespace: job.metadata.namespace.clone().unwrap_or_default(),
            model: placement.model.clone(),
            priority: job.spec.priority,
            created: crate::job::created(job),
        });
        self.queued_in
            .insert(uid.to_owned(), placement.pool.clone());
    }

    /// Jobs that wait, in all pools.
    pub(super) fn waiting(&self) -> usize {
        self.queued_in.len()
    }

    /// The job does not wait any more.
    pub(super) fn unqueue(&mut self, uid: &str) {
        if let Some(pool) = self
            .queued_in
            .remove(uid)
            .and_then(|key| self.by_key.get_mut(&key))
        {
            pool.queue.remove(uid);
        }
    }

    /// The next job that a runner has room for.
    pub(super) fn next(&mut self) -> Option<(Placement, Waiting)> {
        let (key, waiting) = self.by_key.iter_mut().find_map(|(key, pool)| {
            let fleet = &pool.fleet;
            let waiting = pool
                .queue
                .pop(&pool.shares, |model| fleet.has_room(model))?;
            Some((key.clone(), waiting))
        })?;
        self.queued_in.remove(&waiting.uid);
        Some((
            Placement {
                pool: key,
                model: waiting.model.clone(),
            },
            waiting,
        ))
    }

    /// Takes a runner's slot for a job that [`Pools::next`] gave.
    pub(super) fn choose(&mut self, placement: &Placement, avoid: Option<&str>) -> Option<Chosen> {
        self.by_key
            .get_mut(&placement.pool)?
            .fleet
            .choose(&placement.model, avoid)
    }

    /// A job that [`Pools::next`] gave found no runner after all.
    pub(super) fn not_dispatched(&mut self, pool: &PoolKey, namespace: &str) {
        if let Some(pool) = self.by_key.get_mut(pool) {
            pool.queue.finished(namespace);
        }
    }

    /// A job has left its runner.
    pub(super) fn left(
        &mut self,
        (pool, endpoint): (&PoolKey, &str),
        namespace: &str,
        was: RunnerWas,
        took: Duration,
    ) {
        if let Some(pool) = self.by_key.get_mut(pool) {
            pool.queue.finished(namespace);
            pool.fleet.left(endpoint, was);
            if was == RunnerWas::Fine {
                pool.work.ended += 1;
                pool.work.busy_seconds += took.as_secs_f64();
            }
        }
    }

    /// Every pool with its queue and its runners.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&PoolKey, &Queue, &Fleet)> {
        let pools = self.by_key.iter();
        pools.map(|(key, pool)| (key, &pool.queue, &pool.fleet))
    }

    /// Every pool: what the controller has found, and what there is to do.
    pub(super) fn provided(&self) -> impl Iterator<Item = (&PoolKey, Provided<'_>)> {
        self.by_key.iter().map(|(key, pool)| {
            let provided = Provided {
                queue: &pool.queue,
                shares: &pool.shares,
                models: &pool.models,
                fleet: &pool.fleet,
                work: pool.work,
                provision: pool.provision.as_deref(),
            };
            (key, provided)
        })
    }

    /// What the pool's status should tell.
    pub(super) fn status(&self, key: &PoolKey, object: &RunnerPool) -> Option<RunnerPoolStatus> {
        let pool = self.by_key.get(key)?;
        let unseen = object.spec.external.is_none() && pool.provision.is_none();
        if unseen && object.status.is_some() {
            return None; // What the leader before has told stands until this one knows better.
        }
        Some(status::status(
            object,
            &pool.fleet,
            pool.provision.as_deref(),
            pool.queue.len(),
            Timestamp::now(),
        ))
    }
}

impl Pool {
    /// Keeps the links that are still right, ends the others, and makes what is missing.
    fn connect(&mut self, key: &PoolKey, spec: &RunnerPoolSpec, linking: &Linking) {
        let mut wanted = targets(spec, self.provision.as_deref());
        let endpoints: Vec<String> = wanted.keys().cloned().collect();
        self.fleet.keep(&endpoints);
        for (endpoint, target) in &wanted {
            self.fleet.leave(endpoint, target.is_leaving());
        }
        (self.links).retain(|endpoint, (target, _)| match wanted.get(endpoint) {
            Some(same) if same.speaks_like(target) => wanted.remove(endpoint).is_some(),
            _ => false,
        });
        for (endpoint, target) in wanted {
            let link = linking.link(key, &endpoint, target.clone());
            self.links.insert(endpoint, (target, link));
        }
    }
}
