//! Whether the bucket belongs to another installation, whose sweeper would delete what this API stores. The
//! operator takes a bucket for its installation; the API only reads the marker.

use crate::config::Config;
use fovea_cluster::{CLUSTER_NAMESPACE, NamespaceError, read_namespace};
use fovea_store::{ForeignBucket, Store, StoreError};
use kube::Client;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Upper bound on the read of the namespace that identifies the cluster.
const READ_LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct BucketCheck {
    /// `None` if the API serves one namespace: it may then read no other.
    client: Option<Client>,
    cluster_uid: OnceCell<String>,
    store: Store,
}

/// Why the owner is unknown.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

impl BucketCheck {
    pub(crate) fn new(config: &Config, client: &Client, store: Store) -> Self {
        let serves_all = config.only_namespace().is_none();
        Self {
            client: serves_all.then(|| client.clone()),
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
        let Some(client) = &self.client else {
            return Ok(None);
        };
        let read = async || {
            let namespace = read_namespace(client, CLUSTER_NAMESPACE, READ_LIMIT).await?;
            Ok::<_, NamespaceError>(namespace.uid)
        };
        let uid = self.cluster_uid.get_or_try_init(read).await?;
        Ok(self.store.foreign_owner(uid).await?)
    }
}
