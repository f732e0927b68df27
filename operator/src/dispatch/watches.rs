//! The loop's watches on the cluster.

use fovea_crds::{InferenceJob, RunnerPool};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::DeserializeGuard;
use kube::core::ObjectMeta;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use std::time::Duration;

pub(super) enum WatchEvent {
    /// A job has changed, or is one of a list.
    Job(Event<DeserializeGuard<InferenceJob>>),
    Pool(Event<DeserializeGuard<RunnerPool>>),
    Namespace(Event<Namespace>),
}

type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// Interval between reads of the one watched namespace: watching it would need rights on all.
const NAMESPACE_EVERY: Duration = Duration::from_secs(10);

/// Jobs and namespaces of the whole cluster, or of one namespace; pools of one namespace. Each begins
/// with a consistent list, and with another one where it was interrupted for too long.
pub(super) struct Watches {
    jobs: Events<DeserializeGuard<InferenceJob>>,
    pools: Events<DeserializeGuard<RunnerPool>>,
    namespaces: Events<Namespace>,
}

impl Watches {
    /// `only`: the one namespace whose jobs count.
    pub(super) fn start(client: &Client, pool_namespace: &str, only: Option<&str>) -> Self {
        let (jobs, namespaces) = match only {
            None => (Api::all(client.clone()), watch(Api::all(client.clone()))),
            Some(name) => {
                let api = Api::all(client.clone());
                let one = poll(api, name.to_owned());
                (Api::namespaced(client.clone(), name), one)
            }
        };
        Self {
            jobs: watch(jobs),
            pools: watch(Api::namespaced(client.clone(), pool_namespace)),
            namespaces,
        }
    }

    /// Waits for the next event of any watch. A failed watch is logged, and restarted after a back-off.
    pub(super) async fn next(&mut self) -> WatchEvent {
        loop {
            let event = tokio::select! {
                Some(event) = self.jobs.next() => logged("InferenceJobs", event).map(WatchEvent::Job),
                Some(event) = self.pools.next() => logged("RunnerPools", event).map(WatchEvent::Pool),
                Some(event) = self.namespaces.next() => logged("Namespaces", event).map(WatchEvent::Namespace),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }
}

fn logged<K>(kinds: &str, event: Result<Event<K>, watcher::Error>) -> Option<Event<K>> {
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

/// The events of a watch on one namespace, made from reads.
fn poll(api: Api<Namespace>, name: String) -> Events<Namespace> {
    let interval = tokio::time::interval(NAMESPACE_EVERY);
    let reads =
        futures::stream::unfold((interval, api, name), async |(mut interval, api, name)| {
            interval.tick().await;
            let gone = Namespace {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    ..ObjectMeta::default()
                },
                ..Namespace::default()
            };
            let event = match api.get_opt(&name).await {
                Ok(Some(namespace)) => Ok(Event::Apply(namespace)),
                Ok(None) => Ok(Event::Delete(gone)),
                Err(error) => Err(watcher::Error::InitialListFailed(error)),
            };
            Some((event, (interval, api, name)))
        });
    // The first one that can be read is the list.
    let mut listed = false;
    let events = reads.flat_map(move |event| {
        let first = event.is_ok() && !listed;
        listed |= event.is_ok();
        let done = first.then_some(Ok(Event::InitDone));
        futures::stream::iter([event].into_iter().chain(done))
    });
    events.boxed()
}
