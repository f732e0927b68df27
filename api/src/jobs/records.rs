//! Records of finished jobs that the operator deleted before their time, because there were too many: the
//! job as it was, in the bucket, until its `ttlSecondsAfterFinished` is over.

use crate::auth::Tenant;
use crate::error::{Problem, ProblemType};
use crate::kubernetes::Namespaces;
use crate::metrics::Metrics;
use crate::shares::Shares;
use fovea_cluster::NamespaceError;
use fovea_crds::InferenceJob;
use fovea_store::{Store, can_have_record};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Bound on concurrent look-ups. They have no part in the bound on reads of the API server, which
/// must go on while the object store is slow.
const MAX_LOOKUPS: usize = 32;

#[derive(Clone)]
pub(crate) struct Records {
    store: Store,
    namespaces: Arc<Namespaces>,
    permits: Shares,
    /// Bound on one look-up, the wait for its turn included.
    timeout: Duration,
}

impl Records {
    pub(crate) fn new(
        store: Store,
        namespaces: Arc<Namespaces>,
        timeout: Duration,
        metrics: &Metrics,
    ) -> Self {
        Self {
            store,
            namespaces,
            permits: Shares::new("records", MAX_LOOKUPS, metrics),
            timeout,
        }
    }

    /// The job that had this name, without its inline picture; `None` if it has no valid record.
    pub(crate) async fn find(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Option<InferenceJob>, Problem> {
        let namespace = tenant.namespace.as_str();
        let look_up = async {
            let permit = self.permits.acquire(tenant.parties, self.timeout).await;
            let full = ProblemType::StoreUnavailable;
            let _permit =
                permit.map_err(|refused| refused.problem(full, "look-ups of records", 2))?;
            let Some(uid) = self.namespace_uid(namespace, name).await? else {
                return Ok(None);
            };
            let record = self.store.record(namespace, &uid, name, SystemTime::now());
            record.await.map_err(unread)
        };
        let record = timeout(self.timeout, look_up).await;
        let record = record.map_err(|_| unread("no answer in time"))??;
        let job = record.map(|record| serde_json::from_slice(&record));
        job.transpose()
            .map_err(|error| Problem::internal(format!("the record of the job {name}: {error}")))
    }

    /// Deletes the records of the job that had this name; whether there was one.
    pub(crate) async fn delete(&self, namespace: &str, name: &str) -> Result<bool, Problem> {
        let Some(uid) = self.namespace_uid(namespace, name).await? else {
            return Ok(false);
        };
        let deleted = self.store.delete_records(namespace, &uid, name).await;
        deleted.map_err(unread)
    }

    /// The uid of the namespace if a job of this name can have a record in it.
    async fn namespace_uid(&self, namespace: &str, name: &str) -> Result<Option<String>, Problem> {
        if !can_have_record(name) {
            return Ok(None);
        }
        match self.namespaces.uid(namespace).await {
            Ok(uid) => Ok(Some(uid)),
            Err(NamespaceError::Missing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn unread(error: impl std::fmt::Display) -> Problem {
    let detail = "the cluster has no such job, and the object store, which may have a record of it, did not answer: try again";
    Problem::new(ProblemType::StoreUnavailable, detail)
        .caused_by(error)
        .retry_after(2)
}
