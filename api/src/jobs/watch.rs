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

/// Whose jobs are watched. Those of other namespaces are read from the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchScope {
    /// One namespace's.
    Namespace(String),
    /// Those of all namespaces: it needs the right to list and watch them.
    All,
}

/// Watches for as long as it is polled.
pub(super) async fn run(client: Client, scope: WatchScope, cache: Cache) {
    let api: Api<DeserializeGuard<InferenceJob>> = match scope {
        WatchScope::Namespace(namespace) => Api::namespaced(client, &namespace),
        WatchScope::All => Api::all(client),
    };
    let config = Config::default().timeout(WATCH_SECONDS);
    let mut events = watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => take(&cache, event),
            Err(error) => {
                cache.failed();
                tracing::warn!(%error, "watching InferenceJobs failed: jobs are read from the API server until it works again");
            }
        }
    }
}

fn take(cache: &Cache, event: Event<DeserializeGuard<InferenceJob>>) {
    match event {
        Event::Init => cache.relist(),
        Event::InitApply(DeserializeGuard(job)) | Event::Apply(DeserializeGuard(job)) => {
            match job {
                Ok(job) => cache.apply(job),
                Err(invalid) => set_aside(cache, &invalid),
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
fn set_aside(cache: &Cache, invalid: &InvalidObject) {
    let namespace = invalid.metadata.namespace.as_deref().unwrap_or_default();
    let name = invalid.metadata.name.as_deref().unwrap_or_default();
    tracing::debug!(namespace, name, error = %invalid.error, "an InferenceJob cannot be read");
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
    fn an_object_that_cannot_be_read_stops_no_other_and_is_not_answered_as_it_was() {
        let cache = Cache::default();
        let known = |name| cache.get(&JobKey::new("ns", name)).is_some();
        for event in [
            Event::Init,
            Event::InitApply(job("a", "image-to-music")),
            Event::InitApply(job("b", "image-to-text")),
            Event::InitApply(job("c", "image-to-text")),
            Event::InitDone,
        ] {
            take(&cache, event);
        }
        assert_eq!((known("a"), known("b"), known("c")), (false, true, true));
        take(&cache, Event::Apply(job("b", "image-to-music")));
        take(&cache, Event::Delete(job("c", "image-to-music")));
        assert_eq!((known("a"), known("b"), known("c")), (false, false, false));
    }
}
