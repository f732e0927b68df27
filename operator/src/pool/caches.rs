//! Caches of the pools and of what belongs to them, kept up to date by watches. Each change queues the
//! pools that it concerns.

use super::PoolKey;
use super::build::Subject;
use super::build::names::{self, IMPORT, MANAGED_BY, OPERATOR, POOL};
use fovea_cluster::{Watches, watch};
use fovea_crds::{ModelSource, PoolModel, RunnerPool};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store, store::WriterDropped};
use kube::runtime::{reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    Pool(String),
    /// By the value of their objects' pool label.
    Label(String),
    /// Those with a model that is imported with this Secret's token.
    Token(String),
    All,
}

pub(super) struct Caches {
    pub(super) pools: Store<DeserializeGuard<RunnerPool>>,
    pub(super) deployments: Store<Deployment>,
    pub(super) services: Store<Service>,
    pub(super) secrets: Store<Secret>,
    pub(super) policies: Store<NetworkPolicy>,
    pub(super) budgets: Store<PodDisruptionBudget>,
    pub(super) jobs: Store<Job>,
    pub(super) pods: Store<Pod>,
    /// Metadata of Secrets that the operator does not manage.
    tokens: Store<PartialObjectMeta<Secret>>,
    namespace: String,
    is_filled: AtomicBool,
    _watches: Vec<AbortOnDropHandle<()>>,
}

#[derive(Default)]
pub(super) struct Children {
    pub(super) deployment: Option<Arc<Deployment>>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) secret: Option<Arc<Secret>>,
    pub(super) policy: Option<Arc<NetworkPolicy>>,
    pub(super) budget: Option<Arc<PodDisruptionBudget>>,
    pub(super) pods: Vec<Arc<Pod>>,
}

impl Caches {
    /// Starts the watches; changes go to `wake`.
    pub(super) fn start(
        client: &Client,
        namespace: &str,
        wake: &mpsc::Sender<Wake>,
        proofs: &Watches,
    ) -> Self {
        let mut start = Start {
            client,
            namespace,
            wake,
            proofs,
            watches: Vec::new(),
        };
        let theirs = format!("{MANAGED_BY}!={OPERATOR}");
        Self {
            pools: start.keep(None, by_name),
            tokens: start.keep(Some(&theirs), by_token),
            deployments: start.owned(),
            services: start.owned(),
            secrets: start.owned(),
            policies: start.owned(),
            budgets: start.owned(),
            jobs: start.owned(),
            pods: start.owned(),
            namespace: namespace.to_owned(),
            is_filled: AtomicBool::new(false),
            _watches: start.watches,
        }
    }

    pub(super) async fn filled(&self) -> Result<(), WriterDropped> {
        self.pools.wait_until_ready().await?;
        self.deployments.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        self.secrets.wait_until_ready().await?;
        self.policies.wait_until_ready().await?;
        self.budgets.wait_until_ready().await?;
        self.jobs.wait_until_ready().await?;
        self.tokens.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.is_filled.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether all that the pool owns is known: with fewer objects than there are, a reconcile would do harm. An
    /// external pool owns nothing.
    pub(super) fn cover(&self, pool: &RunnerPool) -> bool {
        pool.spec.external.is_some() || self.is_filled.load(Ordering::Relaxed)
    }

    pub(super) fn children(&self, subject: &Subject<'_>) -> Children {
        let Subject { key, child, .. } = subject;
        let label = names::label(&key.name);
        Children {
            deployment: get(&self.deployments, child, &key.namespace),
            service: get(&self.services, child, &key.namespace),
            secret: get(&self.secrets, child, &key.namespace),
            policy: get(&self.policies, child, &key.namespace),
            budget: get(&self.budgets, child, &key.namespace),
            pods: self
                .pods
                .state_filter(|pod| pod.labels().get(POOL) == Some(&label)),
        }
    }

    /// An import's Job, whether it has its form, and its pods.
    pub(super) fn import(&self, name: &str) -> (Option<Arc<Job>>, bool, Vec<Arc<Pod>>) {
        let pods = self
            .pods
            .state_filter(|pod| pod.labels().get(IMPORT).is_some_and(|label| label == name));
        let job = get(&self.jobs, name, &self.namespace);
        let secret = get(&self.secrets, name, &self.namespace);
        let is_owned = |secret: Arc<Secret>| {
            let uid = job.as_ref().and_then(|job| job.uid()).unwrap_or_default();
            secret.owner_references().iter().any(|each| each.uid == uid)
        };
        let has_form = secret.is_some_and(is_owned);
        (job, has_form, pods)
    }

    /// The resourceVersion of a Secret that the operator does not manage, if it exists.
    pub(super) fn token_version(&self, name: &str) -> Option<String> {
        get(&self.tokens, name, &self.namespace)?.resource_version()
    }

    pub(super) fn has(&self, key: &PoolKey) -> bool {
        get(&self.pools, &key.name, &key.namespace).is_some()
    }

    /// Whether an object of a pool has this uid.
    pub(super) fn has_uid(&self, uid: &str) -> bool {
        fn any<K>(store: &Store<K>, uid: &str) -> bool
        where
            K: Resource<DynamicType = ()> + Clone + 'static,
        {
            store
                .find(|each| each.meta().uid.as_deref() == Some(uid))
                .is_some()
        }
        any(&self.deployments, uid)
            || any(&self.services, uid)
            || any(&self.secrets, uid)
            || any(&self.policies, uid)
            || any(&self.budgets, uid)
    }

    /// The pools to reconcile.
    pub(super) fn woken(&self, wake: &Wake) -> Vec<ObjectRef<DeserializeGuard<RunnerPool>>> {
        let one = |name: &str| ObjectRef::new(name).within(&self.namespace);
        let names = || self.pools.state().into_iter().map(|pool| pool.name_any());
        match wake {
            Wake::Pool(name) => vec![one(name)],
            Wake::Label(label) => {
                let labelled = names().filter(|name| names::label(name) == *label);
                labelled.map(|name| one(&name)).collect()
            }
            Wake::Token(secret) => {
                let pools = self.pools.state().into_iter();
                let pools = pools.filter(|pool| {
                    let models = pool.0.as_ref().map(|pool| pool.spec.models.iter());
                    models
                        .is_ok_and(|mut models| models.any(|model| token_of(model) == Some(secret)))
                });
                pools.map(|pool| one(&pool.name_any())).collect()
            }
            Wake::All => names().map(|name| one(&name)).collect(),
        }
    }
}

fn get<K>(store: &Store<K>, name: &str, namespace: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

/// The Secret with the token with which a model is imported.
fn token_of(model: &PoolModel) -> Option<&String> {
    match model.source.as_ref()? {
        ModelSource::HuggingFace {
            token_secret_ref, ..
        } => token_secret_ref.as_ref().map(|secret| &secret.name),
        ModelSource::Object { .. } | ModelSource::Volume { .. } | ModelSource::Image { .. } => None,
    }
}

fn by_name(pool: &DeserializeGuard<RunnerPool>) -> Wake {
    Wake::Pool(pool.name_any())
}

fn by_token(secret: &PartialObjectMeta<Secret>) -> Wake {
    Wake::Token(secret.name_any())
}

/// By the pool's label; an import is any pool's.
fn by_label<K: Resource>(object: &K) -> Wake {
    let label = object
        .meta()
        .labels
        .as_ref()
        .and_then(|labels| labels.get(POOL));
    label.map_or(Wake::All, |label| Wake::Label(label.clone()))
}

/// What every watch needs, and the watches started so far.
struct Start<'a> {
    client: &'a Client,
    namespace: &'a str,
    wake: &'a mpsc::Sender<Wake>,
    proofs: &'a Watches,
    watches: Vec<AbortOnDropHandle<()>>,
}

impl Start<'_> {
    /// Keeps the objects that the operator manages.
    fn owned<K: Cached>(&mut self) -> Store<K> {
        self.keep(Some(&format!("{MANAGED_BY}={OPERATOR}")), by_label)
    }

    /// Keeps the objects that the selector `labels` selects.
    fn keep<K: Cached>(&mut self, labels: Option<&str>, whom: fn(&K) -> Wake) -> Store<K> {
        let (store, mut writer) = reflector::store();
        let api = Api::namespaced(self.client.clone(), self.namespace);
        let mut events = watch(api, labels, self.proofs);
        let wake = self.wake.clone();
        let watching = async move {
            while let Some(event) = events.next().await {
                let event = match event {
                    Ok(event) => event.modify(|object: &mut K| object.managed_fields_mut().clear()),
                    Err(error) => {
                        tracing::warn!(kind = %K::kind(&()), %error, "watching the pools' objects failed; trying again");
                        continue;
                    }
                };
                writer.apply_watcher_event(&event);
                let woken = match &event {
                    watcher::Event::Apply(object) | watcher::Event::Delete(object) => whom(object),
                    // Objects may have been deleted while the watch was interrupted.
                    watcher::Event::InitDone => Wake::All,
                    watcher::Event::Init | watcher::Event::InitApply(_) => continue,
                };
                if wake.send(woken).await.is_err() {
                    return;
                }
            }
        };
        let watching = AbortOnDropHandle::new(tokio::spawn(watching));
        self.watches.push(watching);
        store
    }
}

trait Cached:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Cached for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static
{
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn external_pools_do_not_wait_for_the_watches_of_what_pools_own() {
        let caches = Caches {
            pools: reflector::store().0,
            tokens: reflector::store().0,
            deployments: reflector::store().0,
            services: reflector::store().0,
            secrets: reflector::store().0,
            policies: reflector::store().0,
            budgets: reflector::store().0,
            jobs: reflector::store().0,
            pods: reflector::store().0,
            namespace: "ns".to_owned(),
            is_filled: AtomicBool::new(false),
            _watches: Vec::new(),
        };
        let mut pool = json!({"models": [{"name": "m", "task": "image-to-text"}]});
        let with_pods = RunnerPool::new("p", serde_json::from_value(pool.clone()).unwrap());
        pool["external"] = json!({"endpoints": ["https://a"]});
        let external = RunnerPool::new("p", serde_json::from_value(pool).unwrap());
        assert!(caches.cover(&external) && !caches.cover(&with_pods));
        caches.is_filled.store(true, Ordering::Relaxed);
        assert!(caches.cover(&external) && caches.cover(&with_pods));
    }
}
