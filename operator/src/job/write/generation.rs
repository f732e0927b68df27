//! Writes which edit of a finished job was seen: a patch that names nothing else, so that no end can
//! change.

use super::{StatusWriter, code_of};
use crate::job::Finished;
use fovea_cluster::{decoded, request};
use fovea_crds::InferenceJob;
use kube::Resource;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::json;

impl StatusWriter {
    /// Writes `generation` as the finished job's `status.observedGeneration`, unless the job has changed
    /// since it was observed. It tries once.
    pub(crate) async fn observe_generation(
        &self,
        uid: &str,
        job: &Finished,
        generation: i64,
    ) -> Result<(), kube::Error> {
        let patch = Patch::Merge(json!({
            "metadata": {"uid": uid, "resourceVersion": job.resource_version},
            "status": {"observedGeneration": generation},
        }));
        let collection = InferenceJob::url_path(&(), Some(&job.namespace));
        let patch = Request::new(collection)
            .patch_subresource("status", &job.name, &PatchParams::default(), &patch)
            .map_err(kube::Error::BuildRequest)?;
        let answer = self.bounded(request(&self.client, patch)).await;
        match answer.and_then(decoded) {
            Ok(_) => Ok(()),
            // The watch delivers what the job is now.
            Err(error) if matches!(code_of(&error), Some(404 | 409)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
