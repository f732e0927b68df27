//! What the watch has told: every unfinished job, and who waits for which job's next version.
//!
//! A finished job costs nothing here: its last version goes to those who wait for it and is
//! dropped, and who asks later is answered by the API server.

use fovea_crds::{InferenceJob, Input};
use kube::ResourceExt as _;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The annotation in which `kubectl apply` keeps a copy of the manifest, inline picture included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A job's place.
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

/// The latest that the watch has told of a job since somebody waits for it.
#[derive(Clone, Debug, Default)]
pub(super) enum Seen {
    #[default]
    Nothing,
    Job(Arc<InferenceJob>),
    Gone,
}

#[derive(Debug, Default)]
struct State {
    unfinished: HashMap<JobKey, Arc<InferenceJob>>,
    waited_for: HashMap<JobKey, watch::Sender<Seen>>,
    /// While everything is listed anew: what has been listed so far.
    listed: Option<HashSet<JobKey>>,
    /// The watch has listed everything at least once.
    filled: bool,
    /// The watch's last word was not an error.
    fresh: bool,
}

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache(Arc<Mutex<State>>);

impl Cache {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job, where it is unfinished and the watch is at work.
    pub(super) fn get(&self, key: &JobKey) -> Option<Arc<InferenceJob>> {
        let state = self.lock();
        if !state.fresh {
            return None;
        }
        state.unfinished.get(key).cloned()
    }

    /// Whether everything has been listed once.
    pub(super) fn is_filled(&self) -> bool {
        self.lock().filled
    }

    /// Whether the watch is at work.
    pub(super) fn is_fresh(&self) -> bool {
        self.lock().fresh
    }

    /// The job has this version.
    pub(super) fn see(&self, job: InferenceJob) {
        let mut state = self.lock();
        let key = JobKey::of(&job);
        if let Some(listed) = &mut state.listed {
            listed.insert(key.clone());
        } else {
            state.fresh = state.filled;
        }
        state.put(key, job);
    }

    /// An answer to our own write: kept where it is newer than what the watch has told so far.
    /// A job that the watch does not know (any more) is not taken in, or nobody would remove it.
    pub(super) fn written(&self, job: InferenceJob) {
        let mut state = self.lock();
        let key = JobKey::of(&job);
        if state.unfinished.contains_key(&key) {
            state.put(key, job);
        }
    }

    /// The job is not there any more, or cannot be read.
    pub(super) fn forget(&self, key: &JobKey) {
        self.lock().forget(key);
    }

    /// Everything will be listed anew.
    pub(super) fn relist(&self) {
        self.lock().listed = Some(HashSet::new());
    }

    /// Everything has been listed: what was not is gone.
    pub(super) fn relisted(&self) {
        let mut state = self.lock();
        let listed = state.listed.take().unwrap_or_default();
        let known = state.unfinished.keys().chain(state.waited_for.keys());
        let gone: Vec<JobKey> = known
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            state.forget(&key);
        }
        (state.filled, state.fresh) = (true, true);
    }

    /// The watch has failed: what is known here may be old until it speaks again.
    pub(super) fn failed(&self) {
        self.lock().fresh = false;
    }

    /// What the watch tells of the job from now on.
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
        let known = self.unfinished.get(&key);
        if known.is_some_and(|known| is_older(&job, known)) {
            return;
        }
        let job = Arc::new(trim(job));
        if let Some(waiters) = self.waited_for.get(&key) {
            waiters.send_replace(Seen::Job(Arc::clone(&job)));
        }
        if is_finished(&job) {
            self.unfinished.remove(&key);
        } else {
            self.unfinished.insert(key, job);
        }
    }

    fn forget(&mut self, key: &JobKey) {
        self.unfinished.remove(key);
        if let Some(waiters) = self.waited_for.get(key) {
            waiters.send_replace(Seen::Gone);
        }
    }
}

/// One who waits for a job's changes; nothing is left of it when it is dropped.
#[derive(Debug)]
pub(super) struct Subscription {
    /// `None` only while this is dropped.
    receiver: Option<watch::Receiver<Seen>>,
    cache: Cache,
    key: JobKey,
}

impl Subscription {
    /// The latest that was told; what came between two calls is skipped.
    pub(super) async fn next(&mut self) -> Seen {
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

/// Whether the job has ended.
pub(crate) fn is_finished(job: &InferenceJob) -> bool {
    let status = job.status.as_ref();
    status.is_some_and(|status| status.phase.is_terminal())
}

/// Whether `one` is the same object as `other`, read earlier. Resource versions are decimal
/// counters (KEP-5504).
pub(super) fn is_older(one: &InferenceJob, other: &InferenceJob) -> bool {
    let version = |job: &InferenceJob| job.resource_version()?.parse::<u64>().ok();
    one.metadata.uid == other.metadata.uid
        && match (version(one), version(other)) {
            (Some(one), Some(other)) => one < other,
            _ => false,
        }
}

/// Drops what nobody asks a cache for.
fn trim(mut job: InferenceJob) -> InferenceJob {
    job.metadata.managed_fields = None;
    if let Some(annotations) = &mut job.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    if let Input::Inline { data } = &mut job.spec.input {
        data.0 = Vec::new();
    }
    job
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
