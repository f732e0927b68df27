//! Deletes a finished job: for good, or leaving a record in the bucket from which the API answers.

use super::Dispatcher;
use crate::job::retention::Cause;
use crate::job::write::{Deletion, StatusWriter};
use crate::job::{Finished, Tracked};
use bytes::Bytes;
use fovea_store::{InvalidKey, ObjectKey, Store, StoreError};
use jiff::SignedDuration;
use kube::ResourceExt as _;
use std::sync::Arc;

/// Wait before a finished job whose deletion failed is reconciled again.
const DELETE_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// Why a finished job stays for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeleteError {
    #[error(transparent)]
    Kubernetes(#[from] kube::Error),
    #[error("its record could not be stored: {0}")]
    Store(#[from] StoreError),
    #[error("its record could not be stored: {0}")]
    Key(#[from] InvalidKey),
    #[error("its record could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

pub(super) struct Deleter {
    pub writer: StatusWriter,
    pub store: Store,
    /// The uid of the job's namespace; `None` if the watch has not delivered it.
    pub namespace_uid: Option<String>,
    pub uid: Arc<str>,
    pub job: Finished,
}

impl Deleter {
    /// Deletes the job; false if it has changed since it was observed, or if somebody else has deleted it.
    pub(super) async fn run(&self, cause: Cause) -> Result<bool, DeleteError> {
        let deletion = match cause {
            Cause::Expired => self.delete().await?,
            Cause::Limit => self.replace_by_record().await?,
        };
        Ok(deletion == Deletion::Deleted)
    }

    async fn delete(&self) -> Result<Deletion, kube::Error> {
        self.writer.delete(&self.uid, &self.job).await
    }

    /// Stores the job's record, then deletes the job. It has a record only if it was deleted.
    async fn replace_by_record(&self) -> Result<Deletion, DeleteError> {
        let (Some(namespace_uid), Some(expires)) = (&self.namespace_uid, self.job.expires()) else {
            return Ok(Deletion::Changed);
        };
        let job = self.writer.read_finished(&self.uid, &self.job).await?;
        let observed = Some(&*self.job.resource_version);
        let Some(job) = job.filter(|job| job.resource_version().as_deref() == observed) else {
            return Ok(Deletion::Changed);
        };
        let expires = u64::try_from(expires.as_second()).unwrap_or_default();
        let (namespace, name) = (&self.job.namespace, &self.job.name);
        let key = ObjectKey::record(namespace, namespace_uid, name, (expires, &self.uid))?;
        let record: Bytes = serde_json::to_vec(&job)?.into();
        self.store.put(&key, record, "application/json").await?;
        let deletion = self.delete().await?;
        // Its user has deleted it meanwhile, or it stays: the record must not answer for it.
        if deletion != Deletion::Deleted {
            self.store.delete(&key).await?;
        }
        Ok(deletion)
    }
}

impl Dispatcher {
    /// Deletes the next finished job that has expired, or that exceeds a limit.
    pub(super) fn delete_one(&mut self) {
        let now = crate::time::now();
        let permits = match self.retention.next_cause(now) {
            None => return,
            Some(Cause::Expired) => &self.deletions,
            Some(Cause::Limit) => &self.early_deletions,
        };
        let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
            return; // The next tick tries again.
        };
        let Some((uid, cause)) = self.retention.take(now) else {
            return;
        };
        let Some(Tracked::Finished(finished)) = self.book.get(&uid) else {
            return;
        };
        let finished = finished.clone();
        self.book.wake_after(&uid, DELETE_AGAIN_AFTER);
        let namespace = self.directory.namespaces.get(&*finished.namespace);
        let deleter = Deleter {
            writer: self.writer.clone(),
            store: self.parts.store.clone(),
            namespace_uid: namespace.map(|namespace| namespace.uid.clone()),
            uid,
            job: finished,
        };
        let metrics = Arc::clone(&self.parts.metrics);
        tokio::spawn(async move {
            let _permit = permit;
            let Finished {
                name, namespace, ..
            } = &deleter.job;
            match deleter.run(cause).await {
                Ok(true) => {
                    tracing::debug!(job = %name, %namespace, ?cause, "deleted a finished job");
                    metrics.finished_job_deleted(cause.as_str());
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(job = %name, %namespace, ?cause, %error, "deleting a finished job failed");
                }
            }
        });
    }
}
