//! Writes the callback's record of a finished job: a patch that names nothing else, so that no end
//! can change.

use super::{Change, StatusWriter, Written};
use crate::job::delivery::{self, supersedes};
use crate::kill_points;
use fovea_crds::{CallbackStatus, InferenceJob};
use kube::core::Request;
use kube::{
    Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::ops::ControlFlow;

impl StatusWriter {
    /// Writes `record`. Nothing is written where the job is gone, or where its record is already as
    /// far along.
    pub(crate) async fn record_callback(
        &self,
        job: InferenceJob,
        mut record: CallbackStatus,
    ) -> Written {
        let clip = |text: String| fovea_crds::clip::message(&text);
        record.last_error = record.last_error.map(clip);
        let mut change = Record {
            writer: self,
            record,
        };
        self.settle(job, &mut change).await
    }
}

struct Record<'a> {
    writer: &'a StatusWriter,
    record: CallbackStatus,
}

impl Record<'_> {
    fn count(&self) {
        let outcome = delivery::outcome(&self.record);
        self.writer.metrics.callback_try(outcome);
    }
}

impl Change for Record<'_> {
    fn request(&self, job: &InferenceJob) -> Result<http::Request<Vec<u8>>, kube::Error> {
        let CallbackStatus {
            delivered,
            attempts,
            next_attempt_time,
            last_error,
        } = &self.record;
        let patch = json!({
            "metadata": {"uid": job.metadata.uid, "resourceVersion": job.metadata.resource_version},
            // A null removes the field.
            "status": {"callback": {
                "delivered": delivered,
                "attempts": attempts,
                "nextAttemptTime": next_attempt_time,
                "lastError": last_error,
            }},
        });
        let collection = InferenceJob::url_path(&(), job.metadata.namespace.as_deref());
        let (name, options) = (job.name_any(), PatchParams::default());
        Request::new(collection)
            .patch_subresource("status", &name, &options, &Patch::Merge(patch))
            .map_err(kube::Error::BuildRequest)
    }

    fn reduce(&mut self, _: &InferenceJob, _: &str) {
        self.record.last_error = None;
    }

    fn rebase(&mut self, newer: InferenceJob) -> ControlFlow<Written, InferenceJob> {
        let found = newer.status.as_ref();
        let found = found.and_then(|status| status.callback.as_ref());
        if found.is_some_and(|found| supersedes(found, &self.record)) {
            self.count();
            return ControlFlow::Break(Written::Current(Box::new(newer)));
        }
        ControlFlow::Continue(newer)
    }

    fn written(&self, _: &InferenceJob, _: &InferenceJob) {
        kill_points::after(kill_points::CALLBACK_RECORDED);
        self.count();
    }
}
