//! Takes the bucket for this installation, and refuses one that belongs to another installation: two
//! sweepers would delete each other's pictures.
//!
//! The marker names the cluster by the uid of `kube-system`, which outlives every reinstallation and a
//! restored etcd, and the Lease by its uid. An operator that watches one namespace may not read
//! `kube-system`; it names the uid of that namespace instead. One common uid is enough.

use backon::{BackoffBuilder as _, ExponentialBuilder};
use fovea_cluster::{CLUSTER_NAMESPACE, NamespaceError, read_namespace};
use fovea_store::{BucketOwner, ForeignBucket, Installation, Store, StoreError};
use kube::Client;
use std::time::Duration;

/// Upper bound on the read of the namespace.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// Time for which a new leader waits to know whose bucket it is; after it, it works and asks on.
const START_LIMIT: Duration = Duration::from_secs(2);

/// Longest pause between two tries to take the bucket at the start.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why the bucket is not this installation's, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error(transparent)]
    Foreign(#[from] ForeignBucket),
    #[error("the owner of the bucket is unknown: {0}")]
    Store(#[from] StoreError),
    #[error("the owner of the bucket is unknown: {0}")]
    Namespace(#[from] NamespaceError),
}

/// The bucket, and what identifies this installation.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub client: Client,
    pub store: Store,
    /// Uid of the Lease.
    pub lease_uid: String,
    /// Namespace and name of the Lease.
    pub lease: String,
    /// The one namespace whose jobs count, or all.
    pub watch_namespace: Option<String>,
}

impl Bucket {
    /// Takes the bucket if it has no owner; fails unless it is this installation's.
    pub(crate) async fn claim(&self) -> Result<(), ClaimError> {
        let us = Installation {
            uids: [self.lease_uid.clone(), self.namespace_uid().await?].into(),
            name: self.lease.clone(),
        };
        match self.store.claim_bucket(&us).await? {
            BucketOwner::Us => Ok(()),
            BucketOwner::UsFromNow => {
                tracing::info!(
                    ?us,
                    "the bucket had no owner and is this installation's now"
                );
                Ok(())
            }
            BucketOwner::Other(foreign) => Err(foreign.into()),
        }
    }

    /// Fails if the bucket belongs to another installation. If that is unknown in time, it is no reason not to
    /// work: a leader works while the store is down.
    pub(crate) async fn refuse_foreign(&self) -> Result<(), ForeignBucket> {
        match tokio::time::timeout(START_LIMIT, self.claim()).await {
            Ok(Err(ClaimError::Foreign(foreign))) => Err(foreign),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Claims the bucket, again and again while its owner is unknown. Returns only if it belongs to another
    /// installation.
    pub(crate) async fn is_foreign(&self) -> ForeignBucket {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times();
        let mut pauses = pauses.build();
        loop {
            match self.claim().await {
                Ok(()) => return std::future::pending().await,
                Err(ClaimError::Foreign(foreign)) => return foreign,
                Err(error) => tracing::warn!(%error, "trying again"),
            }
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    async fn namespace_uid(&self) -> Result<String, NamespaceError> {
        let name = self.watch_namespace.as_deref().unwrap_or(CLUSTER_NAMESPACE);
        Ok(read_namespace(&self.client, name, READ_LIMIT).await?.uid)
    }
}
