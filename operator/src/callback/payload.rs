//! The body of a webhook, after the Standard Webhooks specification: the event's type, its time, and
//! the job as a client needs it. Pure, and the same at every try: only the headers differ.

use fovea_crds::{
    BatchOutput, Counts, Failure, InferenceJob, InferenceJobStatus, JobResult, Phase, Task, Timings,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Payload {
    /// `inferencejob.succeeded`, `inferencejob.failed` or `inferencejob.cancelled`.
    #[serde(rename = "type")]
    pub event: &'static str,
    pub timestamp: Time,
    pub data: Data,
}

/// A finished job, with the field names of the API; empty fields are null.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Data {
    pub id: String,
    pub namespace: String,
    /// Distinguishes it from earlier and later jobs of its name.
    pub uid: String,
    pub phase: Phase,
    pub task: Task,
    /// The model that ran it, or else the requested one.
    pub model: Option<String>,
    pub model_revision: Option<String>,
    pub created_at: Option<Time>,
    pub started_at: Option<Time>,
    pub completed_at: Option<Time>,
    /// Attempts that count against the retry limit.
    pub attempts: u32,
    /// The result in one line, or the failure's reason.
    pub summary: Option<String>,
    /// The result; only its beginning where `resultTruncated` is true.
    pub result: Option<JobResult>,
    /// Whether the whole result is only available from the API or the bucket.
    pub result_truncated: bool,
    /// Length of the whole result in bytes, where it is truncated.
    pub result_bytes: Option<u64>,
    /// SHA-256 of the whole result, where it is truncated.
    pub result_sha256: Option<String>,
    /// Whether the result was given before, and the picture was not run.
    pub reused: bool,
    /// Pictures of a batch by their outcome.
    pub counts: Option<Counts>,
    /// Where a batch's results are.
    pub output: Option<BatchOutput>,
    pub failure: Option<Failure>,
    pub timings: Option<Timings>,
}

impl Payload {
    /// The body for a finished job; `None` where it has not ended.
    pub(crate) fn of(job: &InferenceJob) -> Option<Self> {
        let status = job.status.as_ref()?;
        let event = match status.phase {
            Phase::Succeeded => "inferencejob.succeeded",
            Phase::Failed => "inferencejob.failed",
            Phase::Cancelled => "inferencejob.cancelled",
            Phase::Pending | Phase::Running => return None,
        };
        Some(Self {
            event,
            timestamp: Time(job.ended()),
            data: Data::of(job, status.clone()),
        })
    }
}

impl Data {
    fn of(job: &InferenceJob, status: InferenceJobStatus) -> Self {
        // Without `..`, so that a new field of the status must be considered here.
        let InferenceJobStatus {
            phase,
            observed_generation: _,
            pool_ref: _,
            conditions: _,
            attempts,
            interruptions: _,
            exclusive: _,
            next_attempt_time: _,
            start_time,
            completion_time,
            runner: _,
            model,
            reused,
            result,
            summary,
            result_bytes,
            result_sha256,
            counts,
            progress_permille: _,
            rate_per_second: _,
            estimated_completion_time: _,
            output,
            failure,
            timings,
            callback: _,
        } = status;
        let (served, model_revision) = model.map(|model| (model.name, model.revision)).unzip();
        Self {
            id: job.name_any(),
            namespace: job.namespace().unwrap_or_default(),
            uid: job.uid().unwrap_or_default(),
            phase,
            task: job.spec.task,
            model: served.or_else(|| job.spec.model.clone()),
            model_revision,
            created_at: job.creation_timestamp(),
            started_at: start_time,
            completed_at: completion_time,
            attempts,
            summary,
            result_truncated: result_sha256.is_some(),
            result,
            result_bytes,
            result_sha256,
            reused,
            counts,
            output,
            failure,
            timings,
        }
    }
}

/// The header `webhook-id`: the same at every try, so that a receiver recognises repetitions.
pub(crate) fn id(job: &InferenceJob) -> String {
    format!("msg_{}", job.uid().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(status: Value) -> InferenceJob {
        let mut job = crate::fixtures::job();
        job.metadata.name = Some("7".into());
        job.metadata.namespace = Some("ns".into());
        job.metadata.uid = Some("u-1".into());
        job.status = serde_json::from_value(status).unwrap();
        job
    }

    fn body(status: Value) -> Value {
        serde_json::to_value(Payload::of(&job(status))).unwrap()
    }

    #[test]
    fn every_member_is_there_and_the_time_is_that_of_the_end() {
        let status = json!({
            "phase": "Succeeded", "attempts": 1, "summary": "a red circle",
            "startTime": "2026-01-01T00:00:01Z", "completionTime": "2026-01-01T00:00:02Z",
            "model": {"name": "blip", "revision": "sha256:0"}, "result": {"caption": "a red circle"},
        });
        let data = json!({
            "id": "7", "namespace": "ns", "uid": "u-1", "phase": "Succeeded", "task": "image-to-text",
            "model": "blip", "modelRevision": "sha256:0", "createdAt": null,
            "startedAt": "2026-01-01T00:00:01Z", "completedAt": "2026-01-01T00:00:02Z",
            "attempts": 1, "summary": "a red circle", "result": {"caption": "a red circle"},
            "resultTruncated": false, "resultBytes": null, "resultSha256": null,
            "reused": false, "counts": null, "output": null, "failure": null, "timings": null,
        });
        let whole = json!({"type": "inferencejob.succeeded", "timestamp": "2026-01-01T00:00:02Z", "data": data});
        assert_eq!(body(status), whole);
    }

    #[test]
    fn each_end_has_its_event_and_no_other_phase_has_one() {
        for (phase, event) in [
            ("Succeeded", "inferencejob.succeeded"),
            ("Failed", "inferencejob.failed"),
            ("Cancelled", "inferencejob.cancelled"),
        ] {
            assert_eq!(body(json!({ "phase": phase }))["type"], event);
        }
        for phase in ["Pending", "Running"] {
            assert_eq!(body(json!({ "phase": phase })), Value::Null);
        }
    }

    #[test]
    fn a_failure_and_a_clipped_result_are_in_the_body() {
        let failure = json!({"reason": "InvalidPicture", "message": "no JPEG", "retryable": false});
        let failed = body(json!({"phase": "Failed", "failure": failure}));
        assert_eq!(failed["data"]["failure"], failure);
        let clipped = json!({"phase": "Succeeded", "resultSha256": "0", "resultBytes": 9});
        assert_eq!(body(clipped)["data"]["resultTruncated"], true);
    }

    #[test]
    fn the_id_is_the_job_s_own() {
        assert_eq!(id(&job(json!({"phase": "Failed"}))), "msg_u-1");
    }
}
