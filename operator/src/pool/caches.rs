//! Caches of the pools and of what belongs to them, kept up to date by watches. Each change queues the
//! pools that it concerns.

use super::PoolKey;
use super::build::Subject;
use super::build::names::{self, IMPORT, MANAGED_BY, OPERATOR, POOL};
use fovea_crds::{ModelSource, PoolModel, RunnerPool};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store, store::WriterDropped};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
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
    pub(super) fn start(client: &Client, namespace: &str, wake: &mpsc::Sender<Wake>) -> Self {
        let ours = watcher::Config::default().labels(&format!("{MANAGED_BY}={OPERATOR}"));
        let mut watches = Vec::new();
        let pools = Api::namespaced(client.clone(), namespace);
        let (pools, watch) = keep(pools, watcher::Config::default(), wake.clone(), by_name);
        watches.push(watch);
        let theirs = watcher::Config::default().labels(&format!("{MANAGED_BY}!={OPERATOR}"));
        let tokens = Api::namespaced(client.clone(), namespace);
        let (tokens, watch) = keep(tokens, theirs, wake.clone(), by_token);
        watches.push(watch);
        Self {
            pools,
            tokens,
            deployments: owned(client, namespace, &ours, wake, &mut watches),
            services: owned(client, namespace, &ours, wake, &mut watches),
            secrets: owned(client, namespace, &ours, wake, &mut watches),
            policies: owned(client, namespace, &ours, wake, &mut watches),
            budgets: owned(client, namespace, &ours, wake, &mut watches),
            jobs: owned(client, namespace, &ours, wake, &mut watches),
            pods: owned(client, namespace, &ours, wake, &mut watches),
            namespace: namespace.to_owned(),
            _watches: watches,
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
        self.pods.wait_until_ready().await
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
        ModelSource::Object { .. } | ModelSource::Volume { .. } => None,
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

fn owned<K>(
    client: &Client,
    namespace: &str,
    config: &watcher::Config,
    wake: &mpsc::Sender<Wake>,
    watches: &mut Vec<AbortOnDropHandle<()>>,
) -> Store<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let api = Api::namespaced(client.clone(), namespace);
    let (store, watch) = keep(api, config.clone(), wake.clone(), by_label);
    watches.push(watch);
    store
}

fn keep<K>(
    api: Api<K>,
    config: watcher::Config,
    wake: mpsc::Sender<Wake>,
    whom: fn(&K) -> Wake,
) -> (Store<K>, AbortOnDropHandle<()>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let stream = watcher(api, config).default_backoff().modify(|object| {
        object.managed_fields_mut().clear();
    });
    let mut stream = Box::pin(reflector(writer, stream));
    let watching = async move {
        while let Some(event) = stream.next().await {
            let woken = match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => whom(&object),
                // Objects may have been deleted while the watch was interrupted.
                Ok(watcher::Event::InitDone) => Wake::All,
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => continue,
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "watching the pools' objects failed; trying again");
                    continue;
                }
            };
            if wake.send(woken).await.is_err() {
                return;
            }
        }
    };
    (store, AbortOnDropHandle::new(tokio::spawn(watching)))
}
