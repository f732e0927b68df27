//! Cache of unfinished jobs, filled by the watch, and the requests that wait for a job's next version.
//!
//! The cache is bounded: a job that does not fit is read from the API server, but counted all the same. Finished jobs are not kept: the last
//! version goes to the waiting requests and is dropped; later
//! reads go to the API server.

use fovea_crds::conditions::{self, ACCEPTED, QUOTA_EXCEEDED, SUSPENDED, TOO_MANY_FINISHED_JOBS};
use fovea_crds::{InferenceJob, Phase, ResolvedPoolRef};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Bound on the memory of all cached jobs, in bytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Memory of a job in bytes beside its text.
const JOB_BYTES: usize = 2 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct JobKey(Box<str>);

impl JobKey {
    /// Neither part can hold a `/`.
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    fn of(job: &InferenceJob) -> Self {
        Self::new(
            job.metadata.namespace.as_deref().unwrap_or_default(),
            job.metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

/// Whether the job is suspended or about to be: by its spec, or as a restored one.
fn is_suspended(job: &InferenceJob) -> bool {
    let conditions = job.status.as_ref().map_or(&[][..], |it| &it.conditions);
    job.is_held() || conditions::get_true(conditions, SUSPENDED).is_some()
}

/// Why a namespace takes no more jobs: the operator has jobs of it wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Full {
    UnfinishedJobs,
    FinishedJobs,
}

impl Full {
    const ALL: [Self; 2] = [Self::UnfinishedJobs, Self::FinishedJobs];

    /// Why this job waits. One that is suspended or about to be deleted does not wait for room, and may keep
    /// the condition for ever.
    fn of(job: &InferenceJob) -> Option<Self> {
        if is_suspended(job) || job.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let accepted = conditions::get(&job.status.as_ref()?.conditions, ACCEPTED)?;
        match accepted.reason.as_str() {
            QUOTA_EXCEEDED => Some(Self::UnfinishedJobs),
            TOO_MANY_FINISHED_JOBS => Some(Self::FinishedJobs),
            _ => None,
        }
    }
}

/// Jobs of one namespace in one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolJobs {
    pub(crate) queued: u32,
    pub(crate) running: u32,
}

/// What is counted of an unfinished job, also of one that the cache has no room for.
#[derive(Debug)]
struct Facts {
    namespace: Box<str>,
    /// Why it waits for its namespace.
    waits: Option<Full>,
    /// The pool that accepted it, and itself in that pool's numbers.
    pool: Option<(ResolvedPoolRef, PoolJobs)>,
}

impl Facts {
    /// `None` if nothing of the job is counted. One that is suspended does not wait for the pool.
    fn of(job: &InferenceJob) -> Option<Self> {
        let namespace = job.metadata.namespace.as_deref()?;
        let (queued, running) = match job.phase() {
            Phase::Running => (0, 1),
            Phase::Pending if !is_suspended(job) => (1, 0),
            _ => (0, 0),
        };
        let pool = job.status.as_ref().and_then(|it| it.pool_ref.clone());
        let pool = pool.filter(|_| queued + running > 0);
        let waits = Full::of(job);
        (waits.is_some() || pool.is_some()).then(|| Self {
            namespace: namespace.into(),
            waits,
            pool: pool.map(|pool| (pool, PoolJobs { queued, running })),
        })
    }
}

/// The latest event of the watch about a job, since the subscription began.
#[derive(Clone, Debug, Default)]
pub(super) enum Update {
    #[default]
    None,
    Job(Arc<InferenceJob>),
    /// The job is deleted, or its known versions are of a future that is lost. A read tells.
    Unknown,
}

#[derive(Debug, Default)]
struct State {
    unfinished: HashMap<JobKey, Arc<InferenceJob>>,
    /// The memory of these jobs, estimated.
    bytes: usize,
    facts: HashMap<JobKey, Facts>,
    waited_for: HashMap<JobKey, watch::Sender<Update>>,
    /// The number of unfinished jobs that wait because their namespace is full, by reason and namespace.
    held: HashMap<(Full, Box<str>), u32>,
    /// The unfinished jobs that a pool has accepted, by namespace and pool; none is without jobs.
    of_pools: HashMap<(Box<str>, ResolvedPoolRef), PoolJobs>,
    /// During a list: the keys received so far.
    listed: Option<HashSet<JobKey>>,
    /// The watch has listed everything at least once.
    filled: bool,
    /// The latest event of the watch was not an error.
    fresh: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Cache(Arc<Mutex<State>>);

impl Cache {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job if it is unfinished; `None` while the watch is broken.
    pub(super) fn get(&self, key: &JobKey) -> Option<Arc<InferenceJob>> {
        let state = self.lock();
        if !state.fresh {
            return None;
        }
        state.unfinished.get(key).cloned()
    }

    pub(super) fn is_filled(&self) -> bool {
        self.lock().filled
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.lock().fresh
    }

    /// Why jobs of the namespace wait; `None` if none waits for room.
    pub(super) fn fullness(&self, namespace: &str) -> Option<Full> {
        let state = self.lock();
        let waits = |full: &Full| state.held.contains_key(&(*full, namespace.into()));
        Full::ALL.into_iter().find(waits)
    }

    /// The jobs of a namespace that a pool has accepted.
    pub(super) fn of_pool(&self, namespace: &str, pool: &ResolvedPoolRef) -> PoolJobs {
        let key = (Box::from(namespace), pool.clone());
        self.lock().of_pools.get(&key).copied().unwrap_or_default()
    }

    /// Stores this version of the job.
    pub(super) fn apply(&self, job: InferenceJob) {
        let mut state = self.lock();
        let key = JobKey::of(&job);
        if let Some(listed) = &mut state.listed {
            listed.insert(key.clone());
        } else {
            state.fresh = state.filled;
        }
        state.put(key, job);
    }

    /// Stores the answer to our own write if it is newer than the version from the watch. A job that is
    /// not in the cache is not added, because no event of the watch would remove it.
    pub(super) fn written(&self, job: InferenceJob) {
        let mut state = self.lock();
        let key = JobKey::of(&job);
        if state.unfinished.contains_key(&key) {
            state.put(key, job);
        }
    }

    /// Removes a job that was deleted or does not decode.
    pub(super) fn forget(&self, key: &JobKey) {
        self.lock().forget(key);
    }

    pub(super) fn relist(&self) {
        self.lock().listed = Some(HashSet::new());
    }

    /// Ends a list: jobs that it did not contain are removed.
    pub(super) fn relisted(&self) {
        let mut state = self.lock();
        let listed = state.listed.take().unwrap_or_default();
        let keys = state.unfinished.keys().chain(state.facts.keys());
        let keys = keys.chain(state.waited_for.keys());
        let deleted: Vec<JobKey> = keys.filter(|key| !listed.contains(*key)).cloned().collect();
        for key in deleted {
            state.forget(&key);
        }
        (state.filled, state.fresh) = (true, true);
    }

    /// The cluster was restored from an older snapshot, so that versions from before cannot be compared with
    /// those from now on: nothing is known before the next list.
    pub(super) fn set_back(&self) {
        let mut state = self.lock();
        state.fresh = false;
        state.unfinished.clear();
        state.facts.clear();
        state.bytes = 0;
        state.held.clear();
        state.of_pools.clear();
        for waiters in state.waited_for.values() {
            waiters.send_replace(Update::Unknown);
        }
    }

    /// The watch has failed: the cache may be stale until the next event.
    pub(super) fn failed(&self) {
        self.lock().fresh = false;
    }

    /// Subscribes to the job's events from now on.
    pub(super) fn subscribe(&self, key: JobKey) -> Subscription {
        let mut state = self.lock();
        let sender = state.waited_for.entry(key.clone()).or_default();
        Subscription {
            receiver: Some(sender.subscribe()),
            cache: self.clone(),
            key,
        }
    }

    #[cfg(test)]
    fn waited_for(&self) -> usize {
        self.lock().waited_for.len()
    }
}

impl State {
    fn put(&mut self, key: JobKey, job: InferenceJob) {
        let current = self.unfinished.get(&key);
        if current.is_some_and(|current| job.is_older_than(current)) {
            return;
        }
        let job = Arc::new(job.trimmed());
        if let Some(waiters) = self.waited_for.get(&key) {
            waiters.send_replace(Update::Job(Arc::clone(&job)));
        }
        self.remove(&key);
        if job.is_finished() {
            return;
        }
        if let Some(facts) = Facts::of(&job) {
            self.count(&facts, 1);
            self.facts.insert(key.clone(), facts);
        }
        let bytes = bytes_of(&job);
        if self.bytes + bytes <= MAX_BYTES {
            self.bytes += bytes;
            self.unfinished.insert(key, job);
        }
    }

    fn remove(&mut self, key: &JobKey) {
        if let Some(facts) = self.facts.remove(key) {
            self.count(&facts, -1);
        }
        if let Some(job) = self.unfinished.remove(key) {
            self.bytes = self.bytes.saturating_sub(bytes_of(&job));
        }
    }

    /// Adds a job's facts to the numbers, or with -1 takes them out.
    fn count(&mut self, facts: &Facts, by: i32) {
        if let Some(full) = facts.waits {
            let key = (full, facts.namespace.clone());
            let held = self.held.entry(key.clone()).or_default();
            *held = held.saturating_add_signed(by);
            if *held == 0 {
                self.held.remove(&key);
            }
        }
        if let Some((pool, own)) = &facts.pool {
            let key = (facts.namespace.clone(), pool.clone());
            let jobs = self.of_pools.entry(key.clone()).or_default();
            let sum = |all: u32, one: u32| all.saturating_add_signed(if one > 0 { by } else { 0 });
            *jobs = PoolJobs {
                queued: sum(jobs.queued, own.queued),
                running: sum(jobs.running, own.running),
            };
            if *jobs == PoolJobs::default() {
                self.of_pools.remove(&key);
            }
        }
    }

    fn forget(&mut self, key: &JobKey) {
        self.remove(key);
        if let Some(waiters) = self.waited_for.get(key) {
            waiters.send_replace(Update::Unknown);
        }
    }
}

/// Memory of a job, estimated by the length of its JSON.
fn bytes_of(job: &InferenceJob) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, job) {
        Ok(()) => JOB_BYTES + count.0,
        // A job that has no JSON is not cached.
        Err(_) => MAX_BYTES + 1,
    }
}

/// A subscription to one job's events, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Subscription {
    /// `None` only while this is dropped.
    receiver: Option<watch::Receiver<Update>>,
    cache: Cache,
    key: JobKey,
}

impl Subscription {
    /// The latest event; earlier events since the previous call are skipped.
    pub(super) async fn next(&mut self) -> Update {
        if let Some(receiver) = &mut self.receiver
            && receiver.changed().await.is_ok()
        {
            return receiver.borrow_and_update().clone();
        }
        // The sender lives as long as there is one receiver.
        std::future::pending().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.cache.lock();
        self.receiver = None;
        let waiters = state.waited_for.get(&self.key);
        if waiters.is_some_and(|waiters| waiters.receiver_count() == 0) {
            state.waited_for.remove(&self.key);
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
