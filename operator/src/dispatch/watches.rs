//! The loop's watches on the cluster.

use fovea_cluster::{ANSWER_LIMIT, Events, WatchError, Watches as Proofs, found, watch};
use fovea_crds::{RunnerPool, WatchedJob};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::DeserializeGuard;
use kube::core::ObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use std::time::Duration;
use tokio::time::timeout;

pub(super) enum WatchEvent {
    /// A job has changed, or is one of a list.
    Job(Box<Event<WatchedJob>>),
    /// The cluster was restored from an older snapshot; the jobs are listed again.
    JobsSetBack,
    Pool(Box<Event<DeserializeGuard<RunnerPool>>>),
    Namespace(Box<Event<Namespace>>),
}

/// Interval between reads of the one watched namespace: watching it would need rights on all.
const NAMESPACE_EVERY: Duration = Duration::from_secs(10);

/// Jobs and namespaces of the whole cluster, or of one namespace; pools of one namespace. Each begins
/// with a consistent list, and with another one where it was interrupted for too long.
pub(super) struct Watches {
    jobs: Events<WatchedJob>,
    pools: Events<DeserializeGuard<RunnerPool>>,
    namespaces: Events<Namespace>,
}

impl Watches {
    /// `only`: the one namespace whose jobs count.
    pub(super) fn start(
        client: &Client,
        pool_namespace: &str,
        only: Option<&str>,
        proofs: &Proofs,
    ) -> Self {
        let (jobs, namespaces) = match only {
            None => {
                let all = Api::all(client.clone());
                (Api::all(client.clone()), watch(all, None, proofs))
            }
            Some(name) => {
                let one = poll(Api::all(client.clone()), name.to_owned(), proofs);
                (Api::namespaced(client.clone(), name), one)
            }
        };
        let pools = Api::namespaced(client.clone(), pool_namespace);
        Self {
            jobs: watch(jobs, None, proofs),
            pools: watch(pools, None, proofs),
            namespaces,
        }
    }

    /// Waits for the next event of any watch. A failed watch is logged; it goes on by itself.
    pub(super) async fn next(&mut self) -> WatchEvent {
        loop {
            let event = tokio::select! {
                Some(event) = self.jobs.next() => match logged("InferenceJobs", event) {
                    Ok(event) => Some(WatchEvent::Job(Box::new(event))),
                    Err(WatchError::SetBack { .. }) => Some(WatchEvent::JobsSetBack),
                    Err(_) => None,
                },
                Some(event) = self.pools.next() => logged("RunnerPools", event).ok().map(|event| WatchEvent::Pool(Box::new(event))),
                Some(event) = self.namespaces.next() => logged("Namespaces", event).ok().map(|event| WatchEvent::Namespace(Box::new(event))),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }
}

fn logged<K>(kinds: &str, event: Result<Event<K>, WatchError>) -> Result<Event<K>, WatchError> {
    event.inspect_err(|error| tracing::warn!(%error, "watching {kinds} failed; trying again"))
}

/// The events of a watch on one namespace, made from reads.
fn poll(api: Api<Namespace>, name: String, proofs: &Proofs) -> Events<Namespace> {
    let interval = tokio::time::interval(NAMESPACE_EVERY);
    let reader = (interval, api, name, proofs.start("namespaces"));
    let reads = futures::stream::unfold(reader, async |(mut interval, api, name, proof)| {
        interval.tick().await;
        let gone = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let answer = timeout(ANSWER_LIMIT, api.get(&name)).await;
        let event = match answer.map(|answer| found(answer, &name)) {
            Ok(Ok(Some(namespace))) => Ok(Event::Apply(namespace)),
            Ok(Ok(None)) => Ok(Event::Delete(gone)),
            Ok(Err(error)) => Err(WatchError::Failed(error)),
            Err(_) => Err(WatchError::Unanswered(ANSWER_LIMIT)),
        };
        if event.is_ok() {
            proof.renew();
        }
        Some((event, (interval, api, name, proof)))
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
