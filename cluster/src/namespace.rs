//! Reads of one namespace. Its uid decides whose its objects in the bucket are: a namespace that was
//! created again under an old name is another one.

use crate::found;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// The namespace whose uid identifies the cluster: it lasts as long as the cluster.
pub const CLUSTER_NAMESPACE: &str = "kube-system";

/// Lifetime of a uid that was read, and of what was read with it. Kubernetes' namespace controller keeps a
/// namespace for at least 5 s after its deletion was requested (`namespaceDeletionGracePeriod`), in
/// which nothing can be created in it. A job that was created at most this long after a read of a
/// namespace that was not being deleted therefore belongs to that namespace, or is gone with it. A
/// namespace that is being deleted must not be cached.
pub const UID_LIFETIME: Duration = Duration::from_secs(2);

/// Why a namespace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// No namespace has this name.
    #[error("the namespace {0:?} does not exist in the cluster")]
    Missing(String),
    /// The API server did not answer, or not with a namespace.
    #[error("the namespace {0:?} could not be read: {1}")]
    Unavailable(String, String),
}

/// A namespace as it was read.
#[derive(Clone, Debug)]
pub struct NamespaceFacts {
    /// Its uid.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its deletion was requested.
    pub is_being_deleted: bool,
}

/// Reads the namespace `name`, which takes at most `limit`.
pub async fn read_namespace(
    client: &Client,
    name: &str,
    limit: Duration,
) -> Result<NamespaceFacts, NamespaceError> {
    let unavailable = |why: String| NamespaceError::Unavailable(name.to_owned(), why);
    let api: Api<Namespace> = Api::all(client.clone());
    let answer = timeout(limit, api.get_metadata(name)).await;
    let answer = answer.map_err(|_| unavailable("no answer in time".to_owned()))?;
    let metadata = found(answer, name)
        .map_err(|error| unavailable(error.to_string()))?
        .ok_or_else(|| NamespaceError::Missing(name.to_owned()))?
        .metadata;
    Ok(NamespaceFacts {
        uid: (metadata.uid).ok_or_else(|| unavailable("it has no uid".to_owned()))?,
        labels: metadata.labels.unwrap_or_default(),
        is_being_deleted: metadata.deletion_timestamp.is_some(),
    })
}
