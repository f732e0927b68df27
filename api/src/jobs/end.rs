//! The end of a job on a user's word: cancelled, or deleted.

use super::{Jobs, failed, is_finished, unavailable};
use crate::error::{Problem, ProblemType};
use fovea_crds::{InferenceJob, Phase};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use std::sync::Arc;
use tokio::time::timeout;

/// Tries against others who change the same job at the same time.
const MAX_CONFLICTS: usize = 8;

impl Jobs {
    /// Asks the operator to end a job as Cancelled; asking twice is as good as once. The write
    /// holds only for the version that was looked at, so that a finished job is left as it is.
    pub(crate) async fn cancel(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<InferenceJob>, Problem> {
        for _ in 0..MAX_CONFLICTS {
            let job = self.fetch(namespace, name).await?;
            let phase = job.status.as_ref().map(|status| status.phase);
            if phase == Some(Phase::Cancelled) || (job.spec.cancel && !is_finished(&job)) {
                return Ok(Arc::new(job));
            }
            if is_finished(&job) {
                let detail = "the job has ended already, and its end does not change: delete the job if it is not wanted";
                return Err(Problem::new(ProblemType::AlreadyFinished, detail));
            }
            let patch = Patch::Merge(json!({
                "metadata": {"uid": job.metadata.uid, "resourceVersion": job.metadata.resource_version},
                "spec": {"cancel": true},
            }));
            let (api, params) = (self.api(namespace), PatchParams::default());
            let patched = api.patch(name, &params, &patch);
            match timeout(self.timeout, patched).await {
                Ok(Ok(job)) => {
                    self.cache.written(job.clone());
                    return Ok(Arc::new(job));
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
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
    ) -> Result<InferenceJob, Problem> {
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
