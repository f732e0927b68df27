//! What comes into the loop: watch events, and tasks that have ended.

use super::task::{Abort, Latest, RunnerWas};
use super::{Dispatcher, Done};
use crate::job::Tracked;
use crate::job::notice::Notice;
use crate::pool::published::PublishedPools;
use crate::pool::resolve;
use crate::pool::{PoolKey, key_of};
use fovea_crds::{InferenceJob, RunnerPool};
use k8s_openapi::api::core::v1::{Namespace, ObjectReference};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use std::collections::BTreeSet;

impl Dispatcher {
    pub(super) fn on_job(&mut self, event: Event<DeserializeGuard<InferenceJob>>) {
        match event {
            Event::Init => self.book.relist(),
            Event::InitApply(DeserializeGuard(job)) | Event::Apply(DeserializeGuard(job)) => {
                match job {
                    Ok(job) => self.see(job),
                    Err(invalid) => {
                        let uid = invalid.metadata.uid.clone().unwrap_or_default();
                        self.forget(&uid);
                        self.set_aside::<InferenceJob>(invalid);
                    }
                }
            }
            Event::Delete(job) => {
                let uid = job.meta().uid.clone().unwrap_or_default();
                self.forget(&uid);
            }
            Event::InitDone => {
                for uid in self.book.relisted() {
                    self.forget(&uid);
                }
                self.synced.jobs = true;
                self.look_at_every_one();
            }
        }
    }

    pub(super) fn on_pool(&mut self, event: Event<DeserializeGuard<RunnerPool>>) {
        match event {
            Event::Init => self.relisted_pools = Some(BTreeSet::new()),
            Event::InitApply(DeserializeGuard(pool)) | Event::Apply(DeserializeGuard(pool)) => {
                match pool {
                    Ok(pool) => {
                        let key = key_of(&pool);
                        if let Some(seen) = &mut self.relisted_pools {
                            seen.insert(key.clone());
                        }
                        self.pools.apply(&key, &pool);
                        let published = self.parts.published.borrow().get(&key).cloned();
                        self.pools.publish(&key, &pool, published);
                        let known = self.directory.pools.insert(key, pool.clone());
                        if known.is_none_or(|known| known.spec != pool.spec) {
                            self.look_at_all();
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
                self.look_at_all();
            }
            Event::InitDone => {
                let seen = self.relisted_pools.take().unwrap_or_default();
                let known: Vec<_> = self.directory.pools.keys().cloned().collect();
                for gone in known.iter().filter(|key| !seen.contains(*key)) {
                    self.remove_pool(gone);
                }
                self.synced.pools = true;
                self.look_at_every_one();
            }
        }
    }

    pub(super) fn on_namespace(&mut self, event: Event<Namespace>) {
        match event {
            Event::Init => {}
            Event::InitApply(namespace) | Event::Apply(namespace) => {
                let kept = resolve::Namespace {
                    uid: namespace.uid().unwrap_or_default(),
                    labels: namespace.labels().clone(),
                };
                let known = self
                    .directory
                    .namespaces
                    .insert(namespace.name_any(), kept.clone());
                if known.as_ref() != Some(&kept) {
                    self.look_at_all();
                }
            }
            Event::Delete(namespace) => {
                self.directory.namespaces.remove(&namespace.name_any());
            }
            Event::InitDone => {
                self.synced.namespaces = true;
                self.look_at_every_one();
            }
        }
    }

    pub(super) fn on_done(&mut self, done: Done) {
        let Done { uid, left } = done;
        let Some(task) = self.tasks.remove(&uid) else {
            return;
        };
        if let Some((pool, endpoint)) = &task.on {
            let took = task.began.elapsed();
            self.pools
                .left((pool, endpoint), &task.namespace, left.runner, took);
        }
        match left.job {
            Latest::Written(job) => self.see(*job),
            Latest::Outdated => self.book.remove_unfinished(&uid),
            Latest::Unchanged => self.look(&uid),
        }
    }

    /// Connects to the runners that the pool controller has published.
    pub(super) fn on_published(&mut self, published: &PublishedPools) {
        for (key, pool) in &self.directory.pools {
            self.pools.publish(key, pool, published.get(key).cloned());
        }
    }

    fn remove_pool(&mut self, key: &PoolKey) {
        self.pools.remove(key);
        self.directory.pools.remove(key);
    }

    /// Keeps a job as it is now, and looks at it.
    pub(super) fn see(&mut self, job: InferenceJob) {
        let uid = job.uid().unwrap_or_default();
        if self.book.see(&uid, job) {
            if let Some(Tracked::Finished(_)) = self.book.get(&uid) {
                self.drop_task(&uid);
            }
            self.look(&uid);
        }
    }

    /// The job is gone, whoever has it.
    fn forget(&mut self, uid: &str) {
        self.book.remove(uid);
        self.pools.unqueue(uid);
        self.calls.forget(uid);
        self.retention.forget(uid);
        self.drop_task(uid);
    }

    fn drop_task(&mut self, uid: &str) {
        if let Some(abort) = self.tasks.get_mut(uid).and_then(|task| task.abort.take()) {
            // A task that has ended meanwhile does not listen any more.
            let _ = abort.send(Abort::Drop);
        }
    }

    /// An object that does not decode stops nothing else: it is set aside, and its owner told.
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

    /// After a list: what was shown before all lists were complete has not been looked at, and a
    /// finished job may have a callback to be sent, or be due to be deleted.
    fn look_at_every_one(&mut self) {
        if self.synced.all() {
            for uid in self.book.uids() {
                self.look(&uid);
            }
        }
    }

    /// After a change of what jobs are resolved against.
    fn look_at_all(&mut self) {
        if self.synced.all() {
            for uid in self.book.unfinished() {
                self.look(&uid);
            }
        }
    }
}

impl RunnerWas {
    /// A mere write involves no runner.
    pub(super) const NOT_INVOLVED: Self = Self::Fine;
}
