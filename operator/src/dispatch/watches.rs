//! What the loop watches in the cluster.

use fovea_crds::{InferenceJob, RunnerPool};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};

/// What a watch has brought.
pub(super) enum Seen {
    /// A job has changed, or is one of a list.
    Job(Event<DeserializeGuard<InferenceJob>>),
    /// A pool.
    Pool(Event<DeserializeGuard<RunnerPool>>),
    /// A namespace.
    Namespace(Event<Namespace>),
}

type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// Jobs and namespaces of the whole cluster, pools of one namespace. Each begins with a consistent
/// list, and with another one where it was interrupted for too long.
pub(super) struct Watches {
    jobs: Events<DeserializeGuard<InferenceJob>>,
    pools: Events<DeserializeGuard<RunnerPool>>,
    namespaces: Events<Namespace>,
}

impl Watches {
    pub(super) fn start(client: &Client, pool_namespace: &str) -> Self {
        Self {
            jobs: watch(Api::all(client.clone())),
            pools: watch(Api::namespaced(client.clone(), pool_namespace)),
            namespaces: watch(Api::all(client.clone())),
        }
    }

    /// The next event of any of them. A watch that fails is told, and tried again after a pause.
    pub(super) async fn next(&mut self) -> Seen {
        loop {
            let seen = tokio::select! {
                Some(event) = self.jobs.next() => told("InferenceJobs", event).map(Seen::Job),
                Some(event) = self.pools.next() => told("RunnerPools", event).map(Seen::Pool),
                Some(event) = self.namespaces.next() => told("Namespaces", event).map(Seen::Namespace),
            };
            if let Some(seen) = seen {
                return seen;
            }
        }
    }
}

fn told<K>(kinds: &str, event: Result<Event<K>, watcher::Error>) -> Option<Event<K>> {
    event
        .inspect_err(|error| tracing::warn!(%error, "watching {kinds} failed; trying again"))
        .ok()
}

fn watch<K>(api: Api<K>) -> Events<K>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed()
}
