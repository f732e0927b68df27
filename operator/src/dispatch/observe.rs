//! What the loop observes: watch events, and tasks that have ended.

use super::attempt::{Abort, After, Done, RunnerWas};
use super::{Dispatcher, OnRunner};
use crate::events::Notice;
use crate::job::write::Written;
use crate::job::{self, Tracked};
use crate::pool::published::PublishedPools;
use crate::pool::resolve;
use crate::pool::{PoolKey, key_of};
use fovea_crds::annotations::MAX_UNFINISHED_JOBS;
use fovea_crds::{InferenceJob, RunnerPool, WatchedJob};
use k8s_openapi::api::core::v1::{Namespace, ObjectReference};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use std::sync::Arc;
use std::time::Duration;

/// Wait before a job is read again of which nothing is known.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);

impl Dispatcher {
    pub(super) fn on_job(&mut self, event: Event<WatchedJob>) {
        match event {
            Event::Init => self.book.relist(),
            Event::InitApply(WatchedJob(job)) | Event::Apply(WatchedJob(job)) => match job {
                Ok(job) => {
                    self.observe(job);
                }
                Err(invalid) => {
                    let uid = invalid.metadata.uid.clone().unwrap_or_default();
                    self.forget(&uid);
                    self.set_aside::<InferenceJob>(invalid);
                }
            },
            Event::Delete(job) => {
                let uid = job.meta().uid.clone().unwrap_or_default();
                self.forget(&uid);
            }
            Event::InitDone => {
                for uid in self.book.relisted() {
                    self.forget(&uid);
                }
                self.synced.jobs = true;
                self.reconcile_all();
            }
        }
    }

    pub(super) fn on_pool(&mut self, event: Event<DeserializeGuard<RunnerPool>>) {
        match event {
            Event::Init => self.relisted_pools.begin(),
            Event::InitApply(DeserializeGuard(pool)) | Event::Apply(DeserializeGuard(pool)) => {
                match pool {
                    Ok(pool) => {
                        let key = key_of(&pool);
                        self.relisted_pools.see(&key);
                        self.pools.apply(&key, &pool);
                        let published = self.parts.published.borrow().get(&key).cloned();
                        self.pools.publish(&key, &pool, published);
                        let known = self.directory.pools.insert(key, pool.clone());
                        if known.is_none_or(|known| known.spec != pool.spec) {
                            self.reconcile_unfinished_jobs();
                        }
                    }
                    Err(invalid) => self.set_aside::<RunnerPool>(invalid),
                }
            }
            Event::Delete(pool) => {
                let meta = pool.meta();
                let key = PoolKey {
                    name: meta.name.clone().unwrap_or_default(),
                    namespace: meta.namespace.clone().unwrap_or_default(),
                };
                self.remove_pool(&key);
                self.reconcile_unfinished_jobs();
            }
            Event::InitDone => {
                for gone in self.relisted_pools.end(self.directory.pools.keys()) {
                    self.remove_pool(&gone);
                }
                self.synced.pools = true;
                self.reconcile_all();
            }
        }
    }

    pub(super) fn on_namespace(&mut self, event: Event<Namespace>) {
        match event {
            Event::Init => self.relisted_namespaces.begin(),
            Event::InitApply(namespace) | Event::Apply(namespace) => {
                self.relisted_namespaces.see(&namespace.name_any());
                let kept = resolve::Namespace {
                    uid: namespace.uid().unwrap_or_default(),
                    labels: namespace.labels().clone(),
                };
                let limit = own_limit(&namespace);
                self.quota.set_limit(&namespace.name_any(), limit);
                let known = self
                    .directory
                    .namespaces
                    .insert(namespace.name_any(), kept.clone());
                if known.as_ref() != Some(&kept) && self.synced.all() {
                    for uid in self.book.unfinished_in(&namespace.name_any()) {
                        self.reconcile(&uid);
                    }
                }
            }
            Event::Delete(namespace) => self.remove_namespace(&namespace.name_any()),
            Event::InitDone => {
                let known = self.directory.namespaces.keys();
                for gone in self.relisted_namespaces.end(known) {
                    self.remove_namespace(&gone);
                }
                self.synced.namespaces = true;
                self.reconcile_all();
            }
        }
    }

    pub(super) fn on_done(&mut self, done: Done) {
        let Done {
            uid,
            after,
            runner,
            cost,
        } = done;
        let Some(task) = self.tasks.remove(&uid) else {
            return;
        };
        if let Some(OnRunner {
            pool,
            endpoint,
            turn,
        }) = &task.on
        {
            let took = task.began.elapsed();
            self.pools
                .released((pool, endpoint), (turn, cost), runner, took);
        }
        self.batch_ended(&uid);
        // A job with a kept result is about to finish.
        if !matches!(after, After::Keep(_)) {
            self.retention.stopped(&uid);
        }
        match after {
            After::Keep(result) => self.keep(&uid, task.namespace, *result),
            After::Written(Written::Current(job) | Written::Ended(job)) => {
                if !self.observe(*job) {
                    // The watch was faster: what it delivered has not been acted on yet.
                    self.reconcile(&uid);
                }
            }
            After::Written(Written::Unknown) => self.read_again(uid, READ_AGAIN_AFTER),
            After::Written(Written::Unchanged) => self.reconcile(&uid),
        }
    }

    /// Reads an unfinished job again after `wait`, then every [`READ_AGAIN_AFTER`] until the watch removes it or it
    /// is there. It does not run meanwhile.
    pub(super) fn read_again(&mut self, uid: String, wait: Duration) {
        let Some(Tracked::Unfinished(job)) = self.book.get(&uid) else {
            return self.reconcile(&uid);
        };
        let job = Arc::clone(job);
        let namespace = job.namespace().unwrap_or_default();
        self.pools.unqueue(&uid);
        self.book.clear_timer(&uid);
        let (writer, permits) = (self.writer.clone(), Arc::clone(&self.writes));
        let reading = async move {
            tokio::time::sleep(wait).await;
            let _permit = permits.acquire().await;
            match writer.read(&job).await {
                Ok(Some(found)) => Written::Current(Box::new(found)),
                Ok(None) | Err(_) => Written::Unknown,
            }
        };
        self.start_write(uid, namespace, None, reading);
    }

    /// Connects to the runners that the pool controller has published.
    pub(super) fn on_published(&mut self, published: &PublishedPools) {
        for (key, pool) in &self.directory.pools {
            self.pools.publish(key, pool, published.get(key).cloned());
        }
    }

    /// Removes a namespace. Its jobs go by their own watch.
    fn remove_namespace(&mut self, name: &str) {
        self.directory.namespaces.remove(name);
        self.quota.set_limit(name, None);
        self.folders.forget(name);
    }

    fn remove_pool(&mut self, key: &PoolKey) {
        self.pools.remove(key);
        self.directory.pools.remove(key);
    }

    /// Caches a job and reconciles it; false where a newer version is cached already.
    pub(super) fn observe(&mut self, job: InferenceJob) -> bool {
        let uid = job.uid().unwrap_or_default();
        let is_newer = self.book.observe(&uid, job);
        if is_newer {
            match self.book.get(&uid) {
                Some(Tracked::Finished(_)) => {
                    self.quota.forget(&uid);
                    self.drop_task(&uid);
                }
                Some(Tracked::Unfinished(job)) => {
                    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
                    let accepted = job::is_accepted(job);
                    self.quota.keep(&uid, namespace, job.created(), accepted);
                    // A restore may have set a finished job back.
                    self.retention.forget(&uid);
                }
                None => {}
            }
            if self.quota.is_waiting(&uid) {
                self.book.reduce(&uid);
            }
            self.reconcile(&uid);
        }
        is_newer
    }

    /// Removes a job that is gone from everything that holds it.
    fn forget(&mut self, uid: &str) {
        self.book.remove(uid);
        self.pools.unqueue(uid);
        self.calls.forget(uid);
        self.edits.forget(uid);
        self.quota.forget(uid);
        self.retention.forget(uid);
        self.drop_task(uid);
    }

    fn drop_task(&mut self, uid: &str) {
        if let Some(abort) = self.tasks.get_mut(uid).and_then(|task| task.abort.take()) {
            // This fails where the task has ended meanwhile.
            let _ = abort.send(Abort::Drop);
        }
    }

    /// Skips an object that does not decode, with an Event on it; it must not stop the others.
    fn set_aside<K: Resource<DynamicType = ()>>(&self, invalid: InvalidObject) {
        let (name, namespace) = (
            invalid.metadata.name.clone(),
            invalid.metadata.namespace.clone(),
        );
        self.parts.metrics.set_aside(&K::kind(&()));
        tracing::warn!(kind = %K::kind(&()), name, namespace, error = %invalid.error, "object set aside");
        let object = ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name,
            namespace,
            uid: invalid.metadata.uid,
            ..Default::default()
        };
        let notice = Notice {
            reason: "NotDecodable".to_owned(),
            note: format!(
                "this version of Fovea cannot read the object: {}",
                invalid.error
            ),
        };
        self.events.warn(object, "Decode", notice);
    }

    /// Reconciles every job after a list: none was reconciled before all lists were complete, and a
    /// finished job may have a callback to send or be due for deletion.
    fn reconcile_all(&mut self) {
        if self.synced.all() {
            for uid in self.quota.begin() {
                self.book.reduce(&uid);
            }
            for uid in self.book.uids() {
                self.reconcile(&uid);
            }
        }
    }

    /// Reconciles every unfinished job after a change of a pool.
    fn reconcile_unfinished_jobs(&mut self) {
        if self.synced.all() {
            for uid in self.book.unfinished() {
                self.reconcile(&uid);
            }
        }
    }
}

/// The namespace's own limit on unfinished jobs; `None` without a valid one.
fn own_limit(namespace: &Namespace) -> Option<usize> {
    let text = namespace.annotations().get(MAX_UNFINISHED_JOBS)?;
    let limit = text.parse().ok();
    if limit.is_none() {
        tracing::warn!(
            namespace = namespace.name_any(),
            text,
            "the annotation {MAX_UNFINISHED_JOBS} is not a number: the operator's limit applies"
        );
    }
    limit
}

impl RunnerWas {
    /// A mere write involves no runner.
    pub(super) const NOT_INVOLVED: Self = Self::Fine;
}
