//! The one way in which a finished job's status is written: its callback's record, and by a patch
//! that names nothing else, so that no end can change.

use super::{GREATEST_WAIT, MAX_TRIES, StatusWriter, WAITS, Written, bounded, code_of};
use crate::callback::retry::{self, supersedes};
use crate::job::Finished;
use crate::kill_points;
use backon::BackoffBuilder as _;
use fovea_crds::{CallbackStatus, InferenceJob};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

impl StatusWriter {
    /// The finished job as the API server has it now; `None` where it is gone or another of its
    /// name.
    pub async fn find(
        &self,
        uid: &str,
        job: &Finished,
    ) -> Result<Option<InferenceJob>, kube::Error> {
        let api: Api<InferenceJob> = Api::namespaced(self.client.clone(), &job.namespace);
        let found = bounded(api.get_opt(&job.name)).await?;
        Ok(found.filter(|found| found.metadata.uid.as_deref() == Some(uid)))
    }

    /// Writes `record`, conditional on uid and resourceVersion. After a conflict or a lost answer
    /// the job is read again: where it is gone nothing is written, and neither where its record
    /// says as much or more.
    pub async fn record_callback(
        &self,
        mut job: InferenceJob,
        mut record: CallbackStatus,
    ) -> Written {
        record.last_error = record
            .last_error
            .map(|text| fovea_crds::clip::message(&text));
        let mut waits = WAITS.build();
        for _ in 0..MAX_TRIES {
            match self.patch_callback(&job, &record).await {
                Ok(written) => {
                    kill_points::after(kill_points::CALLBACK_TOLD);
                    self.metrics.status_write("stands");
                    self.metrics.callback_try(retry::word(&record));
                    return Written::Stands(Box::new(written));
                }
                Err(error) => match code_of(&error) {
                    Some(404) => {
                        self.metrics.status_write("moot");
                        return Written::Moot;
                    }
                    Some(409) => self.metrics.status_write("conflict"),
                    code => {
                        self.metrics.status_write("failed");
                        tracing::warn!(job = %job.name_any(), %error, "recording a callback failed");
                        if matches!(code, Some(413 | 422)) {
                            record.last_error = None;
                        }
                        tokio::time::sleep(waits.next().unwrap_or(GREATEST_WAIT)).await;
                    }
                },
            }
            match self.read(&job).await {
                Ok(None) => return Written::Moot,
                Ok(Some(newer)) => {
                    let status = newer.status.as_ref();
                    let found = status.and_then(|status| status.callback.as_ref());
                    if found.is_some_and(|found| supersedes(found, &record)) {
                        self.metrics.callback_try(retry::word(&record));
                        return Written::Stands(Box::new(newer));
                    }
                    job = newer;
                }
                Err(error) => {
                    tracing::warn!(job = %job.name_any(), %error, "reading a job again failed");
                }
            }
        }
        self.metrics.status_write("gave-up");
        Written::GaveUp
    }

    async fn patch_callback(
        &self,
        job: &InferenceJob,
        record: &CallbackStatus,
    ) -> Result<InferenceJob, kube::Error> {
        let CallbackStatus {
            delivered,
            attempts,
            next_attempt_time,
            last_error,
        } = record;
        let patch = json!({
            "metadata": {"uid": job.metadata.uid, "resourceVersion": job.metadata.resource_version},
            // A null takes away what was there.
            "status": {"callback": {
                "delivered": delivered,
                "attempts": attempts,
                "nextAttemptTime": next_attempt_time,
                "lastError": last_error,
            }},
        });
        let api = self.jobs(job);
        let name = job.name_any();
        let params = PatchParams::default();
        bounded(api.patch_status(&name, &params, &Patch::Merge(patch))).await
    }
}
