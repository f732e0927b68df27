//! Whether the bucket belongs to another installation, whose sweeper would delete what this API stores. The
//! operator takes a bucket for its installation; the API only reads the marker.

use crate::config::Config;
use fovea_store::{ForeignBucket, Store, StoreError};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::OnceCell;

/// Its uid identifies the cluster, as in the operator's marker.
const CLUSTER_NAMESPACE: &str = "kube-system";

pub(crate) struct BucketCheck {
    /// `None` if the API serves one namespace: it may then read no other.
    namespaces: Option<Api<Namespace>>,
    cluster_uid: OnceCell<String>,
    store: Store,
}

/// Why the owner is unknown.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Kubernetes(#[from] kube::Error),
}

impl BucketCheck {
    pub(crate) fn new(config: &Config, client: &Client, store: Store) -> Self {
        let serves_all = config.only_namespace().is_none();
        Self {
            namespaces: serves_all.then(|| Api::all(client.clone())),
            cluster_uid: OnceCell::new(),
            store,
        }
    }

    /// Fails if the bucket belongs to an installation in another cluster; not if that is unknown.
    pub(crate) async fn check(&self) -> Result<(), ForeignBucket> {
        match self.foreign_owner().await {
            Ok(Some(foreign)) => Err(foreign),
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "whether the bucket belongs to another installation is unknown");
                Ok(())
            }
        }
    }

    async fn foreign_owner(&self) -> Result<Option<ForeignBucket>, Unknown> {
        let Some(namespaces) = &self.namespaces else {
            return Ok(None);
        };
        let read = async || {
            let namespace = namespaces.get_metadata(CLUSTER_NAMESPACE).await?;
            Ok::<_, kube::Error>(namespace.uid().unwrap_or_default())
        };
        let uid = self.cluster_uid.get_or_try_init(read).await?;
        Ok(self.store.foreign_owner(uid).await?)
    }
}
