//! The end of a job on a user's word: cancelled, or deleted.

use super::{Jobs, failed, unavailable};
use crate::error::{Problem, ProblemType};
use fovea_crds::{InferenceJob, Phase};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::Arc;
use tokio::time::timeout;

/// Tries against others who change the same job at the same time.
const MAX_CONFLICTS: usize = 8;

impl Jobs {
    /// Asks the operator to end a job as Cancelled; asking twice is as good as once. The write
    /// holds only for the object and the phase that were looked at, so that a finished job is left
    /// as it is, while other changes of the job are no obstacle.
    pub(crate) async fn cancel(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<InferenceJob>, Problem> {
        for _ in 0..MAX_CONFLICTS {
            let job = self.fetch(namespace, name).await?;
            if job.phase() == Phase::Cancelled || (job.spec.cancel && !job.is_finished()) {
                return Ok(job);
            }
            if job.is_finished() {
                return Err(already_finished());
            }
            let patch: Patch<()> = Patch::Json(cancel_patch(&job)?);
            let (api, params) = (self.api(namespace), PatchParams::default());
            match timeout(self.timeout, api.patch(name, &params, &patch)).await {
                // It got its first status in between, and that was its last.
                Ok(Ok(job)) if job.is_finished() => return Err(already_finished()),
                Ok(Ok(job)) => {
                    self.cache.written(job.clone());
                    return Ok(Arc::new(job));
                }
                // A test in the patch failed, or a conflict outlasted the API server's own tries.
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 409 | 422) => {}
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                    return Err(Problem::no_such_job());
                }
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => return Err(unavailable("no answer in time")),
            }
        }
        Err(unavailable("others change the job all the time"))
    }

    /// Deletes a job and tells what it was.
    pub(crate) async fn delete(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<InferenceJob>, Problem> {
        for _ in 0..MAX_CONFLICTS {
            let job = self.fetch(namespace, name).await?;
            // What is made under the name meanwhile is another job.
            let params = DeleteParams::background().preconditions(Preconditions {
                uid: job.metadata.uid.clone(),
                resource_version: None,
            });
            let api = self.api(namespace);
            match timeout(self.timeout, api.delete(name, &params)).await {
                Ok(Ok(_)) => {
                    self.cache.forget(&super::JobKey::new(namespace, name));
                    return Ok(job);
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                    return Err(Problem::no_such_job());
                }
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => return Err(unavailable("no answer in time")),
            }
        }
        Err(unavailable("the job's name comes and goes"))
    }
}

/// A JSON patch with its tests, which the API server applies to the object as it is then.
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
