//! Writes an unfinished job's status: a PUT of the whole.

use super::{Change, StatusWriter, Written};
use crate::job::decide::Ending;
use crate::job::notice::notice;
use crate::job::status;
use crate::kill_points;
use fovea_crds::{InferenceJob, InferenceJobStatus, Phase};
use kube::{Resource, ResourceExt, api::PostParams, core::Request};
use serde_json::json;
use std::ops::ControlFlow;

impl StatusWriter {
    /// Writes the status that `make` gives for the job as it stands. Nothing is written where the
    /// job is gone or has ended; a job that its user has cancelled meanwhile ends as cancelled.
    pub(crate) async fn write(
        &self,
        job: InferenceJob,
        make: impl Fn(&InferenceJob) -> InferenceJobStatus,
    ) -> Written {
        let mut change = State {
            next: make(&job),
            make,
            writer: self,
        };
        self.settle(job, &mut change).await
    }
}

struct State<'a, F> {
    writer: &'a StatusWriter,
    make: F,
    next: InferenceJobStatus,
}

impl<F: Fn(&InferenceJob) -> InferenceJobStatus> Change for State<'_, F> {
    /// A PUT of the status subresource alone: it clears fields that the status does not name, and
    /// leaves out the spec, which may be large.
    fn request(&self, job: &InferenceJob) -> Result<http::Request<Vec<u8>>, kube::Error> {
        let name = job.name_any();
        let body = json!({
            "apiVersion": InferenceJob::api_version(&()),
            "kind": InferenceJob::kind(&()),
            "metadata": {
                "name": name,
                "namespace": job.namespace(),
                "uid": job.metadata.uid,
                "resourceVersion": job.metadata.resource_version,
            },
            // Required by the schema, ignored by the subresource.
            "spec": {"task": job.spec.task, "input": {"object": {"key": "unchanged"}}},
            "status": self.next,
        });
        let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
        let path = InferenceJob::url_path(&(), job.metadata.namespace.as_deref());
        Request::new(path)
            .replace_subresource("status", &name, &PostParams::default(), body)
            .map_err(kube::Error::BuildRequest)
    }

    fn reduce(&mut self, job: &InferenceJob, why: &str) {
        self.next = status::rejected(job, why, crate::time::now());
    }

    fn rebase(&mut self, newer: InferenceJob) -> ControlFlow<Written, InferenceJob> {
        if newer.is_finished() {
            return ControlFlow::Break(Written::Ended(Box::new(newer)));
        }
        // A batch ends when its finished parts have been copied.
        self.next = if newer.spec.cancel && !newer.spec.input.is_batch() {
            status::ended(&newer, None, &Ending::Cancelled, crate::time::now())
        } else {
            (self.make)(&newer)
        };
        ControlFlow::Continue(newer)
    }

    fn written(&self, before: &InferenceJob, after: &InferenceJob) {
        log(before, after);
        if let Some(notice) = notice(before.status.as_ref(), &self.next) {
            let object = after.object_ref(&());
            self.writer.events.warn(object, "Dispatch", notice);
        }
        kill_points::after(kill_points::of_status(&self.next));
    }
}

/// Logs one line for each change of a job's state.
fn log(before: &InferenceJob, after: &InferenceJob) {
    let nothing = InferenceJobStatus::default();
    let status = after.status.as_ref().unwrap_or(&nothing);
    let (from, to) = (before.phase(), status.phase);
    let reason = status::reason(before.status.as_ref(), status);
    if from == to && reason.is_none() {
        return;
    }
    let ended = status.attempts.saturating_add(status.interruptions);
    let attempt = ended.saturating_add(u32::from(to == Phase::Running));
    tracing::info!(
        job = after.metadata.name,
        namespace = after.metadata.namespace,
        uid = after.metadata.uid,
        attempt,
        runner = status.runner,
        from = from.as_str(),
        to = to.as_str(),
        reason,
        "job changed"
    );
}
