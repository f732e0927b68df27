//! A job as the programs read it: cheap to decode, without what they do not use, and readable in part if it
//! does not decode.

use super::facts::{cut, is_kept_annotation, is_kept_label};
use super::{InferenceJob, InferenceJobStatus};
use crate::conditions::UNOBSERVED;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    ManagedFieldsEntry, ObjectMeta, OwnerReference, Time,
};
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A job as the API server answers it, [trimmed](InferenceJob::trimmed), or the metadata of one that does not
/// decode, which must not stop the others. The default status, which nobody has written, is none.
///
/// Its users decide how large its metadata is, up to 1.5 MiB. What Fovea does not use is skipped while it is
/// decoded, so that it never takes memory.
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

/// The fields of [`ObjectMeta`] that Fovea uses.
#[derive(Deserialize)]
#[serde(remote = "ObjectMeta", rename_all = "camelCase")]
struct Metadata {
    #[serde(default, deserialize_with = "kept_annotations")]
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    #[serde(skip)]
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    #[serde(skip)]
    finalizers: Option<Vec<String>>,
    #[serde(skip)]
    generate_name: Option<String>,
    generation: Option<i64>,
    #[serde(default, deserialize_with = "kept_labels")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip)]
    managed_fields: Option<Vec<ManagedFieldsEntry>>,
    name: Option<String>,
    namespace: Option<String>,
    #[serde(skip)]
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    #[serde(skip)]
    self_link: Option<String>,
    uid: Option<String>,
}

type Strings = Option<BTreeMap<String, String>>;

fn kept_annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Strings, D::Error> {
    deserializer.deserialize_option(Kept(is_kept_annotation))
}

fn kept_labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Strings, D::Error> {
    deserializer.deserialize_option(Kept(is_kept_label))
}

/// Reads the entries of a map that are kept, by key and value, and skips the others.
struct Kept(fn(&str, &str) -> bool);

impl<'de> Visitor<'de> for Kept {
    type Value = Strings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_unit<E>(self) -> Result<Strings, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Strings, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Strings, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some((key, mut value)) = map.next_entry::<String, String>()? {
            if self.0(&key, &value) {
                cut(&mut value);
                kept.insert(key, value);
            }
        }
        Ok((!kept.is_empty()).then_some(kept))
    }
}

impl<'de> Deserialize<'de> for WatchedJob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Parts {
            metadata,
            spec,
            status,
        } = Parts::deserialize(deserializer)?;
        let decoded = Deserialize::deserialize(&spec).and_then(|spec| {
            let status: Option<InferenceJobStatus> = Deserialize::deserialize(&status)?;
            Ok((spec, status.filter(is_written)))
        });
        Ok(Self(match decoded {
            Ok((spec, status)) => Ok(InferenceJob {
                metadata,
                spec,
                status,
            }
            .trimmed()),
            Err(error) => Err(InvalidObject {
                error: error.to_string(),
                metadata,
            }),
        }))
    }
}

/// Whether the status is another than the schema's default. A merge patch, such as another manager's, leaves the
/// default's generation where it names none.
fn is_written(status: &InferenceJobStatus) -> bool {
    let unwritten = InferenceJobStatus {
        observed_generation: Some(UNOBSERVED),
        ..InferenceJobStatus::default()
    };
    *status != unwritten
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
    use crate::{annotations, labels};
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
                "labels": {"a": "b", labels::CREATED_BY: labels::API},
                "annotations": {"c": "d", annotations::TOMBSTONE: "true"},
                "finalizers": ["example.com/f"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "v"}],
                "managedFields": [{"manager": "kubectl", "operation": "Update"}],
            },
            "spec": {"task": "image-to-text", "input": {"inline": {"data": "AQID"}}},
            "status": {"phase": "Succeeded", "result": {"caption": "a cat"}},
        })
    }

    #[test]
    fn a_job_is_read_as_elsewhere_and_trimmed() {
        let text = object().to_string();
        let WatchedJob(read) = serde_json::from_str(&text).unwrap();
        let whole: InferenceJob = serde_json::from_str(&text).unwrap();
        let read = read.unwrap();
        let json = |job| serde_json::to_value(job).unwrap();
        assert_eq!(json(&read), json(&whole.trimmed()));
        assert!(read.is_made_by_api());
        assert_eq!(read.metadata.labels.unwrap().len(), 1);
        assert_eq!(read.metadata.annotations.unwrap().len(), 1);
    }

    #[test]
    fn a_status_that_nobody_has_written_is_none() {
        for status in [
            json!(null),
            json!({"observedGeneration": -1, "phase": "Pending"}),
        ] {
            let mut pending = object();
            pending["status"] = status;
            let WatchedJob(read) = serde_json::from_value(pending).unwrap();
            assert!(read.unwrap().status.is_none());
        }
    }

    #[test]
    fn a_restored_job_is_held_however_long_the_value_of_its_annotation_is() {
        let mut object = object();
        object["metadata"]["annotations"][annotations::RESTORED] = json!("ä".repeat(1000));
        let WatchedJob(read) = serde_json::from_value(object).unwrap();
        let read = read.unwrap();
        assert!(read.is_held());
        let value = &read.metadata.annotations.unwrap()[annotations::RESTORED];
        assert_eq!(value.len(), 128);
    }

    #[test]
    fn metadata_that_is_absent_null_or_foreign_is_none() {
        for map in [json!(null), json!({}), json!({"a": "b"})] {
            let mut object = object();
            object["metadata"]["labels"] = map.clone();
            object["metadata"]["annotations"] = map;
            let WatchedJob(read) = serde_json::from_value(object).unwrap();
            let metadata = read.unwrap().metadata;
            assert_eq!((metadata.labels, metadata.annotations), (None, None));
        }
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
