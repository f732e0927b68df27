//! Fills the cache from a watch of the API server.

use super::cache::{Cache, JobKey};
use fovea_crds::InferenceJob;
use futures::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource as _};

/// Length of one watch request in seconds, after which it is renewed. Shorter than the read timeout
/// of the client for watches, which detects a dead connection.
const WATCH_SECONDS: u32 = 30;

/// Namespaces whose jobs are watched. Jobs of other namespaces are read from the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchScope {
    Namespace(String),
    /// All namespaces, which requires the right to list and watch their jobs.
    All,
}

pub(super) async fn run(client: Client, scope: WatchScope, cache: Cache) {
    let api: Api<DeserializeGuard<InferenceJob>> = match scope {
        WatchScope::Namespace(namespace) => Api::namespaced(client, &namespace),
        WatchScope::All => Api::all(client),
    };
    let config = Config::default().timeout(WATCH_SECONDS);
    let mut events = watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => apply(&cache, event),
            Err(error) => {
                cache.failed();
                tracing::warn!(%error, "watching InferenceJobs failed: jobs are read from the API server until it works again");
            }
        }
    }
}

fn apply(cache: &Cache, event: Event<DeserializeGuard<InferenceJob>>) {
    match event {
        Event::Init => cache.relist(),
        Event::InitApply(DeserializeGuard(job)) | Event::Apply(DeserializeGuard(job)) => {
            match job {
                Ok(job) => cache.apply(job),
                Err(invalid) => skip(cache, &invalid),
            }
        }
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

    fn read(object: Value) -> DeserializeGuard<InferenceJob> {
        serde_json::from_value(object).unwrap()
    }

    fn job(name: &str, task: &str) -> DeserializeGuard<InferenceJob> {
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
