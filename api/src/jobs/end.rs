//! Cancels and deletes jobs.

use super::{Jobs, failed, unavailable};
use crate::auth::Tenant;
use crate::error::{Problem, ProblemType};
use crate::writes::Writes;
use fovea_cluster::{decoded, is_not_found, request};
use fovea_crds::{InferenceJob, Phase};
use kube::Resource as _;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::Request;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::Arc;
use tokio::time::timeout;

/// Attempts while other clients change the same job.
const MAX_CONFLICTS: usize = 8;

impl Jobs {
    /// Sets `spec.cancel`, upon which the operator ends the job; idempotent. The patch tests the
    /// uid and the phase, so that it never applies to a finished job; other changes do not conflict.
    pub(crate) async fn cancel(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Arc<InferenceJob>, Problem> {
        for _ in 0..MAX_CONFLICTS {
            let job = self.fetch(tenant, name).await?;
            if job.phase() == Phase::Cancelled || (job.spec.cancel && !job.is_finished()) {
                return Ok(job);
            }
            if job.is_finished() {
                return Err(already_finished());
            }
            let patch: Patch<()> = Patch::Json(cancel_patch(&job)?);
            let url = InferenceJob::url_path(&(), Some(&tenant.namespace));
            let patch = Request::new(url).patch(name, &PatchParams::default(), &patch);
            let patch = patch.map_err(Problem::internal)?;
            let cancelling = async { decoded(request(&self.client, patch).await?) };
            match timeout(self.timeout, cancelling).await {
                // The job finished before it had a status to test.
                Ok(Ok(job)) if job.is_finished() => return Err(already_finished()),
                Ok(Ok(job)) => {
                    self.cache.written(job.clone());
                    return Ok(Arc::new(job));
                }
                // A test in the patch failed, a conflict outlasted the API server's own tries, or the job was
                // deleted, which the next read tells.
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409 | 422) => {}
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => return Err(unavailable("no answer in time")),
            }
        }
        Err(unavailable("other clients keep changing the job"))
    }

    /// Deletes a job and its record, and returns its last version.
    pub(crate) async fn delete(
        &self,
        tenant: &Tenant,
        name: &str,
        writes: &Writes,
    ) -> Result<Arc<InferenceJob>, Problem> {
        let namespace = tenant.namespace.as_str();
        for _ in 0..MAX_CONFLICTS {
            let job = self.fetch(tenant, name).await?;
            // A job created under this name meanwhile must not be deleted.
            let params = DeleteParams::background().preconditions(Preconditions {
                uid: job.metadata.uid.clone(),
                resource_version: None,
            });
            let api = self.api(namespace);
            let turn = writes.turn(tenant.parties).await?;
            let deleted = timeout(self.timeout, api.delete(name, &params)).await;
            drop(turn);
            match deleted {
                Ok(Ok(_)) => {
                    self.cache.forget(&super::JobKey::new(namespace, name));
                    return Ok(job);
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
                Ok(Err(error)) if is_not_found(&error, name) => {
                    return if self.records.delete(namespace, name).await? {
                        Ok(job)
                    } else {
                        Err(Problem::no_such_job())
                    };
                }
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => return Err(unavailable("no answer in time")),
            }
        }
        Err(unavailable("the job keeps being deleted and created again"))
    }
}

/// A JSON patch whose tests the API server checks when it applies it.
fn cancel_patch<P: DeserializeOwned>(job: &InferenceJob) -> Result<P, Problem> {
    let mut operations =
        vec![json!({"op": "test", "path": "/metadata/uid", "value": job.metadata.uid})];
    if let Some(status) = &job.status {
        operations.push(json!({"op": "test", "path": "/status/phase", "value": status.phase}));
    }
    operations.push(json!({"op": "add", "path": "/spec/cancel", "value": true}));
    serde_json::from_value(operations.into()).map_err(Problem::internal)
}

fn already_finished() -> Problem {
    let detail = "the job has ended already, and its end does not change: delete the job if it is not wanted";
    Problem::new(ProblemType::AlreadyFinished, detail)
}
