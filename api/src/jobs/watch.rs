//! Fills the cache from a watch of the API server.

use super::cache::{Cache, JobKey};
use fovea_cluster::{WatchError, Watches, watch};
use fovea_crds::WatchedJob;
use futures::StreamExt as _;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource as _};

/// Namespaces whose jobs are watched. Jobs of other namespaces are read from the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchScope {
    Namespace(String),
    /// All namespaces, which requires the right to list and watch their jobs.
    All,
}

pub(super) async fn run(client: Client, scope: WatchScope, cache: Cache, watches: Watches) {
    let api: Api<WatchedJob> = match scope {
        WatchScope::Namespace(namespace) => Api::namespaced(client, &namespace),
        WatchScope::All => Api::all(client),
    };
    let mut events = watch(api, None, &watches);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => apply(&cache, event),
            Err(error) => {
                match error {
                    WatchError::SetBack { .. } => cache.set_back(),
                    _ => cache.failed(),
                }
                tracing::warn!(%error, "watching InferenceJobs failed: jobs are read from the API server until it works again");
            }
        }
    }
}

fn apply(cache: &Cache, event: Event<WatchedJob>) {
    match event {
        Event::Init => cache.relist(),
        Event::InitApply(WatchedJob(job)) | Event::Apply(WatchedJob(job)) => match job {
            Ok(job) => cache.apply(job),
            Err(invalid) => skip(cache, &invalid),
        },
        Event::Delete(job) => {
            let meta = job.meta();
            cache.forget(&JobKey::new(
                meta.namespace.as_deref().unwrap_or_default(),
                meta.name.as_deref().unwrap_or_default(),
            ));
        }
        Event::InitDone => cache.relisted(),
    }
}

/// Skips an object that does not decode; the operator reports it to its owner in an Event.
fn skip(cache: &Cache, invalid: &InvalidObject) {
    let namespace = invalid.metadata.namespace.as_deref().unwrap_or_default();
    let name = invalid.metadata.name.as_deref().unwrap_or_default();
    tracing::debug!(namespace, name, error = %invalid.error, "an InferenceJob does not decode");
    cache.forget(&JobKey::new(namespace, name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(object: Value) -> WatchedJob {
        serde_json::from_value(object).unwrap()
    }

    fn job(name: &str, task: &str) -> WatchedJob {
        read(json!({
            "apiVersion": "fovea.dev/v1alpha1", "kind": "InferenceJob",
            "metadata": {"namespace": "ns", "name": name, "resourceVersion": "1"},
            "spec": {"task": task, "input": {"object": {"key": "a"}}},
        }))
    }

    #[test]
    fn an_object_that_does_not_decode_is_removed_and_does_not_affect_others() {
        let cache = Cache::default();
        let cached = |name| cache.get(&JobKey::new("ns", name)).is_some();
        for event in [
            Event::Init,
            Event::InitApply(job("a", "image-to-music")),
            Event::InitApply(job("b", "image-to-text")),
            Event::InitApply(job("c", "image-to-text")),
            Event::InitDone,
        ] {
            apply(&cache, event);
        }
        assert_eq!((cached("a"), cached("b"), cached("c")), (false, true, true));
        apply(&cache, Event::Apply(job("b", "image-to-music")));
        apply(&cache, Event::Delete(job("c", "image-to-music")));
        assert_eq!(
            (cached("a"), cached("b"), cached("c")),
            (false, false, false)
        );
    }
}
