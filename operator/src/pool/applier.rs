//! Applies objects by server-side apply, only where they differ from what they should be.
//!
//! Comparing the desired with the live object does not work: the API server fills in defaults and
//! rewrites values. So the applier remembers the desired object and what the API server made of it, and
//! writes nothing while both are unchanged. Fields that others changed are reset. Fields that others added
//! to a spec, such as a container, are removed by a merge patch, since an apply keeps them.

use super::build::names::{OPERATOR, fingerprint};
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Annotation that the Deployment's controller writes.
const REVISION: &str = "deployment.kubernetes.io/revision";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The API server refused it, or did not answer.
    #[error("{what}: {}", server_message(.error))]
    Kubernetes { what: String, error: kube::Error },
    /// An object of that name does not belong to the pool.
    #[error("{0} already exists and does not belong to this pool; delete it, or rename the pool")]
    Taken(String),
}

impl ApplyError {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Taken(_) => "NameTaken",
            Self::Kubernetes { error, .. } => match error {
                kube::Error::Api(status)
                    if status.code == 403 && status.message.contains("exceeded quota") =>
                {
                    "QuotaExceeded"
                }
                kube::Error::Api(status) if status.code == 403 => "Forbidden",
                kube::Error::Api(status) if status.code == 422 => "Invalid",
                _ => "ApplyFailed",
            },
        }
    }
}

/// The API server's message, without the rest of its answer.
pub(crate) fn server_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// A kind of object that pools own.
pub(crate) trait Owned:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
{
}

impl<K> Owned for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
{
}

pub(crate) struct Applier {
    client: Client,
    seen: Mutex<HashMap<String, Seen>>,
}

/// The object as applied last, and as the API server answered it.
struct Seen {
    desired: String,
    made: Value,
    /// The resourceVersion at which the live object was last found unchanged.
    version: Option<String>,
}

impl Applier {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            seen: Mutex::default(),
        }
    }

    /// Creates or changes an object; `live`: the object in the cache. An existing object is changed only
    /// if the pool with the uid `owner` owns it. Returns whether something was written.
    pub(crate) async fn ensure<K: Owned>(
        &self,
        desired: &K,
        live: Option<Arc<K>>,
        owner: &str,
    ) -> Result<bool, ApplyError> {
        let name = desired.name_any();
        let what = || format!("{} {name}", K::kind(&()));
        let failed = |error| ApplyError::Kubernetes {
            what: what(),
            error,
        };
        let api: Api<K> = Api::namespaced(
            self.client.clone(),
            &desired.namespace().unwrap_or_default(),
        );
        let live = match live {
            Some(live) => Some(live),
            // Not in the cache: perhaps not yet, or without our labels.
            None => api.get_opt(&name).await.map_err(failed)?.map(Arc::new),
        };
        let wanted = fingerprint(desired);
        if let Some(live) = &live {
            if !live.owner_references().iter().any(|each| each.uid == owner) {
                return Err(ApplyError::Taken(what()));
            }
            if self.is_as_made(&wanted, live.as_ref()) {
                return Ok(false);
            }
        }
        let params = PatchParams::apply(OPERATOR).force();
        let mut made = api
            .patch(&name, &params, &Patch::Apply(desired))
            .await
            .map_err(failed)?;
        tracing::info!(kind = %K::kind(&()), name, anew = live.is_none(), "applied");
        let uid = made.uid().unwrap_or_default();
        let before = self.lock().remove(&uid);
        let before = before.filter(|seen| seen.desired == wanted);
        if let Some(excess) = before.and_then(|seen| excess(intent(&made), seen.made)) {
            tracing::warn!(kind = %K::kind(&()), name, "removing fields that somebody else has added");
            let params = PatchParams {
                field_manager: Some(OPERATOR.to_owned()),
                ..PatchParams::default()
            };
            made = api
                .patch(&name, &params, &Patch::Merge(excess))
                .await
                .map_err(failed)?;
        }
        let seen = Seen {
            desired: wanted,
            made: intent(&made),
            version: made.resource_version(),
        };
        self.lock().insert(uid, seen);
        Ok(true)
    }

    pub(crate) async fn remove<K: Owned>(&self, live: &K) -> Result<(), ApplyError> {
        let api: Api<K> =
            Api::namespaced(self.client.clone(), &live.namespace().unwrap_or_default());
        let name = live.name_any();
        let mut params = kube::api::DeleteParams::background();
        if let Some(uid) = live.uid() {
            params = params.preconditions(kube::api::Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            });
            self.lock().remove(&uid);
        }
        match api.delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(ApplyError::Kubernetes {
                what: format!("{} {name}", K::kind(&())),
                error,
            }),
        }
    }

    /// Forgets all objects but those whose uid satisfies `uids`.
    pub(crate) fn keep(&self, uids: impl Fn(&str) -> bool) {
        self.lock().retain(|uid, _| uids(uid));
    }

    fn is_as_made<K: Owned>(&self, wanted: &str, live: &K) -> bool {
        let mut all = self.lock();
        let Some(seen) = live.meta().uid.as_ref().and_then(|uid| all.get_mut(uid)) else {
            return false;
        };
        if seen.desired != wanted {
            return false;
        }
        if seen.version.is_some() && seen.version == live.meta().resource_version {
            return true;
        }
        let same = seen.made == intent(live);
        if same {
            seen.version.clone_from(&live.meta().resource_version);
        }
        same
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object without its status and bookkeeping.
fn intent(object: &impl Serialize) -> Value {
    // Serialising these types does not fail.
    let mut json = serde_json::to_value(object).unwrap_or_default();
    if let Some(fields) = json.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = json
        .get_mut("metadata")
        .and_then(|each| each.as_object_mut())
    {
        for field in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(field);
        }
        if let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(|each| each.as_object_mut())
        {
            annotations.remove(REVISION);
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    json
}

/// The merge patch that restores the object; `None` if nothing was added. Labels and annotations of others
/// stay, also on pods, so that `kubectl rollout restart` works.
fn excess(mut live: Value, mut made: Value) -> Option<Value> {
    for json in [&mut live, &mut made] {
        json.as_object_mut()?.remove("metadata");
        let template = json.pointer_mut("/spec/template");
        if let Some(template) = template.and_then(Value::as_object_mut) {
            template.remove("metadata");
        }
    }
    difference(&live, &made)
}

fn difference(live: &Value, made: &Value) -> Option<Value> {
    let (Value::Object(live), Value::Object(made)) = (live, made) else {
        return (live != made).then(|| made.clone());
    };
    let changed = made.iter().filter_map(|(key, made)| {
        let live = live.get(key).unwrap_or(&Value::Null);
        Some((key.clone(), difference(live, made)?))
    });
    let added = live.keys().filter(|key| !made.contains_key(*key));
    let added = added.map(|key| (key.clone(), Value::Null));
    let patch: serde_json::Map<String, Value> = changed.chain(added).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bookkeeping_of_controllers_is_ignored_and_edits_of_users_are_not() {
        let bare = json!({"metadata": {"name": "a"}, "spec": {"replicas": 1}});
        let kept = json!({
            "metadata": {
                "name": "a", "resourceVersion": "7", "generation": 3, "managedFields": [],
                "annotations": {REVISION: "2"},
            },
            "spec": {"replicas": 1}, "status": {"replicas": 1},
        });
        assert_eq!(intent(&bare), intent(&kept));

        for edited in [
            json!({"metadata": {"name": "a"}, "spec": {"replicas": 2}}),
            json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"replicas": 1}}),
            json!({"metadata": {"name": "a", "annotations": {"x": "y"}}, "spec": {"replicas": 1}}),
        ] {
            assert_ne!(intent(&bare), intent(&edited), "{edited}");
        }
    }

    #[test]
    fn fields_that_others_added_are_removed_but_labels_and_annotations_stay() {
        let made = json!({
            "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "a"}], "template": {"spec": {"x": 1}}},
        });
        let live = json!({
            "metadata": {"name": "a", "labels": {"team": "x"}},
            "spec": {
                "containers": [{"name": "a"}, {"name": "b"}], "paused": true,
                "template": {"metadata": {"annotations": {"restartedAt": "now"}}, "spec": {"x": 1}},
            },
        });
        let patch = json!({"spec": {"containers": [{"name": "a"}], "paused": null}});
        assert_eq!(excess(live, made.clone()), Some(patch));
        assert_eq!(excess(made.clone(), made), None);
    }
}
