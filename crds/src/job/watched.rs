//! A job as the programs' watches read it: cheap to decode, and readable in part if it does not decode.

use super::InferenceJob;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    ManagedFieldsEntry, ObjectMeta, OwnerReference, Time,
};
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A job of a watch or a list, or the metadata of one that does not decode, which must not stop the
/// others. The managed fields, almost half of an object's JSON, are skipped.
///
/// Unlike [`kube::core::DeserializeGuard`], it copies neither the metadata nor the object as a whole.
#[derive(Clone, Debug)]
pub struct WatchedJob(pub Result<InferenceJob, InvalidObject>);

#[derive(Deserialize)]
struct Parts {
    #[serde(default, with = "Metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// [`ObjectMeta`] without its managed fields.
#[derive(Deserialize)]
#[serde(remote = "ObjectMeta", rename_all = "camelCase")]
struct Metadata {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip)]
    managed_fields: Option<Vec<ManagedFieldsEntry>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    self_link: Option<String>,
    uid: Option<String>,
}

impl<'de> Deserialize<'de> for WatchedJob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Parts {
            metadata,
            spec,
            status,
        } = Parts::deserialize(deserializer)?;
        let decoded = Deserialize::deserialize(&spec)
            .and_then(|spec| Ok((spec, Deserialize::deserialize(&status)?)));
        Ok(Self(match decoded {
            Ok((spec, status)) => Ok(InferenceJob {
                metadata,
                spec,
                status,
            }),
            Err(error) => Err(InvalidObject {
                error: error.to_string(),
                metadata,
            }),
        }))
    }
}

impl Resource for WatchedJob {
    type DynamicType = ();
    type Scope = <InferenceJob as Resource>::Scope;

    fn kind(dynamic: &()) -> Cow<'_, str> {
        InferenceJob::kind(dynamic)
    }

    fn group(dynamic: &()) -> Cow<'_, str> {
        InferenceJob::group(dynamic)
    }

    fn version(dynamic: &()) -> Cow<'_, str> {
        InferenceJob::version(dynamic)
    }

    fn plural(dynamic: &()) -> Cow<'_, str> {
        InferenceJob::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(job) => &job.metadata,
            Err(invalid) => &invalid.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(job) => &mut job.metadata,
            Err(invalid) => &mut invalid.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Value {
        json!({
            "apiVersion": "fovea.dev/v1alpha1",
            "kind": "InferenceJob",
            "metadata": {
                "name": "cat",
                "namespace": "team",
                "uid": "u",
                "resourceVersion": "7",
                "generation": 2,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": "2026-01-01T00:00:01Z",
                "labels": {"a": "b"},
                "annotations": {"c": "d"},
                "finalizers": ["example.com/f"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "v"}],
                "managedFields": [{"manager": "kubectl", "operation": "Update"}],
            },
            "spec": {"task": "image-to-text", "input": {"inline": {"data": "AQID"}}},
            "status": {"phase": "Succeeded", "result": {"caption": "a cat"}},
        })
    }

    #[test]
    fn a_job_is_read_as_elsewhere_but_for_its_managed_fields() {
        let text = object().to_string();
        let WatchedJob(read) = serde_json::from_str(&text).unwrap();
        let mut whole: InferenceJob = serde_json::from_str(&text).unwrap();
        whole.metadata.managed_fields = None;
        let json = |job| serde_json::to_value(job).unwrap();
        assert_eq!(json(&read.unwrap()), json(&whole));
        let mut pending = object();
        pending.as_object_mut().unwrap().remove("status");
        let WatchedJob(read) = serde_json::from_value(pending).unwrap();
        assert!(read.unwrap().status.is_none());
    }

    #[test]
    fn a_job_that_does_not_decode_keeps_its_metadata() {
        for (part, wrong) in [
            ("/spec/task", json!("image-to-music")),
            ("/spec", json!(null)),
            ("/status/phase", json!("Lost")),
        ] {
            let mut object = object();
            *object.pointer_mut(part).unwrap() = wrong;
            let WatchedJob(read) = serde_json::from_value(object).unwrap();
            let invalid = read.unwrap_err();
            assert_eq!(invalid.metadata.uid.as_deref(), Some("u"), "{part}");
        }
    }
}
