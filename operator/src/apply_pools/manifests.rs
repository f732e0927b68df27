//! Parses and checks the documents of the file. Pure.

use super::replicas::{self, Replicas};
use fovea_crds::{RunnerPool, RunnerPoolSpec, yaml};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Why a file is invalid; documents are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("document {number}: {why}")]
    Form { number: usize, why: String },
    #[error("document {number} is a {kind} of {api_version}: only RunnerPools may be here")]
    Kind {
        number: usize,
        kind: String,
        api_version: String,
    },
    #[error("RunnerPool {name} is for namespace {namespace}, which is not --namespace")]
    Namespace { name: String, namespace: String },
    #[error("RunnerPool {0} is there twice")]
    Twice(String),
}

/// One pool, as the release has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    pub name: String,
    object: Value,
}

impl Manifest {
    pub(super) fn owned_by(&self, owner: &OwnerReference) -> Value {
        let mut object = self.object.clone();
        object["metadata"]["ownerReferences"] = json!([owner]);
        if self.replicas() == Replicas::Reset {
            object["spec"]["replicas"] = json!(RunnerPoolSpec::new(Vec::new()).replicas);
        }
        object
    }

    pub(super) fn replicas(&self) -> Replicas {
        replicas::of(&self.object["spec"])
    }

    /// An object of this name that has nothing but `spec`.
    pub(super) fn with_spec(&self, spec: &Value) -> Value {
        let (kind, version) = (&self.object["kind"], &self.object["apiVersion"]);
        json!({
            "apiVersion": version, "kind": kind, "metadata": {"name": self.name}, "spec": spec,
        })
    }
}

/// A release may set no other fields of an object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    api_version: String,
    kind: String,
    metadata: Metadata,
    /// Validated by the API server, which has the newest schema.
    spec: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The pools of a file, which must be in `namespace`; empty documents are skipped.
pub(super) fn read(text: &str, namespace: &str) -> Result<Vec<Manifest>, ManifestError> {
    let (mut manifests, mut names) = (Vec::new(), BTreeSet::new());
    for (index, document) in yaml::documents::<Value>(text).enumerate() {
        let number = index + 1;
        let form = |why: String| ManifestError::Form { number, why };
        let value = document.map_err(|error| form(error.to_string()))?;
        if value.is_null() {
            continue;
        }
        // Through JSON, since serde_yaml writes enums in another form than Kubernetes.
        let document = Document::deserialize(value).map_err(|error| form(error.to_string()))?;
        let manifest = manifest(document, number, namespace)?;
        if !names.insert(manifest.name.clone()) {
            return Err(ManifestError::Twice(manifest.name));
        }
        manifests.push(manifest);
    }
    Ok(manifests)
}

fn manifest(document: Document, number: usize, expected: &str) -> Result<Manifest, ManifestError> {
    let Document {
        api_version,
        kind,
        metadata,
        spec,
    } = document;
    if api_version != RunnerPool::api_version(&()) || kind != RunnerPool::kind(&()) {
        return Err(ManifestError::Kind {
            number,
            kind,
            api_version,
        });
    }
    let Metadata {
        name,
        namespace,
        labels,
        annotations,
    } = metadata;
    if let Some(namespace) = namespace.filter(|namespace| namespace != expected) {
        return Err(ManifestError::Namespace { name, namespace });
    }
    let metadata = json!({
        "name": name, "namespace": expected, "labels": labels, "annotations": annotations,
    });
    let object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
    Ok(Manifest { name, object })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: fovea.dev/v1alpha1\nkind: RunnerPool\n";

    fn refused(text: &str) -> String {
        read(text, "fovea-system").unwrap_err().to_string()
    }

    #[test]
    fn documents_are_pools_of_the_namespace_and_empty_ones_are_skipped() {
        let text = format!(
            "---\n{HEAD}metadata: {{name: a, labels: {{x: y}}}}\nspec: {{replicas: 2}}\n---\n# nothing\n---\n{HEAD}metadata: {{name: b, namespace: fovea-system}}\nspec: {{}}\n"
        );
        let manifests = read(&text, "fovea-system").unwrap();
        let names: Vec<&str> = manifests.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let owner = OwnerReference {
            uid: "u".into(),
            ..OwnerReference::default()
        };
        let object = manifests[0].owned_by(&owner);
        assert_eq!(object["spec"], json!({"replicas": 2}));
        assert_eq!(object["metadata"]["namespace"], "fovea-system");
        assert_eq!(object["metadata"]["labels"], json!({"x": "y"}));
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u");
    }

    #[test]
    fn a_file_without_pools_has_none() {
        assert_eq!(read("", "n").unwrap(), []);
        assert_eq!(read("---\n# none\n", "n").unwrap(), []);
    }

    #[test]
    fn anything_but_a_pool_of_the_namespace_is_refused_with_its_document_number() {
        let secret = format!(
            "{HEAD}metadata: {{name: a}}\nspec: {{}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\nspec: {{}}\n"
        );
        assert_eq!(
            refused(&secret),
            "document 2 is a Secret of v1: only RunnerPools may be here"
        );
        let elsewhere = format!("{HEAD}metadata: {{name: a, namespace: other}}\nspec: {{}}\n");
        assert!(refused(&elsewhere).contains("is for namespace other"));
        let twice = format!("{HEAD}metadata: {{name: a}}\nspec: {{}}\n---\n").repeat(2);
        assert_eq!(refused(&twice), "RunnerPool a is there twice");
        assert!(refused("a: [").starts_with("document 1: "));
        let more = format!("{HEAD}metadata: {{name: a, finalizers: [x]}}\nspec: {{}}\n");
        assert!(refused(&more).contains("finalizers"), "{}", refused(&more));
        assert!(refused(HEAD).contains("metadata"), "{}", refused(HEAD));
    }
}
