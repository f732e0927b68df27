//! What a webhook says, after the Standard Webhooks specification: the event's type, its time, and
//! the job as a client needs it. Pure, and the same at every try: only the headers tell tries apart.

use fovea_crds::{Failure, InferenceJob, InferenceJobStatus, JobResult, Phase, Task, Timings};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde::Serialize;

/// The body.
#[derive(Clone, Debug, Serialize)]
pub struct Payload {
    /// `inferencejob.succeeded`, `inferencejob.failed` or `inferencejob.cancelled`.
    #[serde(rename = "type")]
    pub event: &'static str,
    /// When the job ended.
    pub timestamp: Time,
    /// The job.
    pub data: Data,
}

/// A finished job; members have the names that the API gives them, and are null where empty.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// The `InferenceJob`'s name.
    pub id: String,
    /// Its namespace.
    pub namespace: String,
    /// Tells it from others that had its name before or after it.
    pub uid: String,
    /// How it ended.
    pub phase: Phase,
    /// What was done.
    pub task: Task,
    /// The model that did it, or the one that was asked for.
    pub model: Option<String>,
    /// Which weights it had.
    pub model_revision: Option<String>,
    /// When it was made.
    pub created_at: Option<Time>,
    /// When its first attempt began.
    pub started_at: Option<Time>,
    /// When it ended.
    pub completed_at: Option<Time>,
    /// Attempts that counted.
    pub attempts: u32,
    /// The result in one line, or the failure's reason.
    pub summary: Option<String>,
    /// What came out; the head of it where `resultTruncated` says so.
    pub result: Option<JobResult>,
    /// The whole result is to be had from the API, or from the bucket.
    pub result_truncated: bool,
    /// Length of the whole, where it is more.
    pub result_bytes: Option<u64>,
    /// SHA-256 of the whole, where it is more.
    pub result_sha256: Option<String>,
    /// Why there is no result.
    pub failure: Option<Failure>,
    /// Where the last attempt's time went.
    pub timings: Option<Timings>,
}

impl Payload {
    /// What is told of a finished job; `None` where it has not ended.
    pub fn of(job: &InferenceJob) -> Option<Self> {
        let status = job.status.as_ref()?;
        let event = match status.phase {
            Phase::Succeeded => "inferencejob.succeeded",
            Phase::Failed => "inferencejob.failed",
            Phase::Cancelled => "inferencejob.cancelled",
            Phase::Pending | Phase::Running => return None,
        };
        Some(Self {
            event,
            timestamp: Time(crate::job::ended(job)),
            data: Data::of(job, status.clone()),
        })
    }
}

impl Data {
    fn of(job: &InferenceJob, status: InferenceJobStatus) -> Self {
        // Without `..`: what is told of a new field is decided here.
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
            result,
            summary,
            result_bytes,
            result_sha256,
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
            failure,
            timings,
        }
    }
}

/// The header `webhook-id`: the same at every try, so that a receiver knows what it has had.
pub fn id(job: &InferenceJob) -> String {
    format!("msg_{}", job.uid().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::{InferenceJobSpec, Input};
    use serde_json::{Value, json};

    fn job(status: Value) -> InferenceJob {
        let input = Input::Object { key: "a".into() };
        let mut job = InferenceJob::new("7", InferenceJobSpec::new(Task::ImageToText, input));
        job.metadata.namespace = Some("ns".into());
        job.metadata.uid = Some("u-1".into());
        job.status = serde_json::from_value(status).unwrap();
        job
    }

    fn told(status: Value) -> Value {
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
            "failure": null, "timings": null,
        });
        let whole = json!({"type": "inferencejob.succeeded", "timestamp": "2026-01-01T00:00:02Z", "data": data});
        assert_eq!(told(status), whole);
    }

    #[test]
    fn each_end_has_its_event_and_no_other_phase_has_one() {
        for (phase, event) in [
            ("Succeeded", "inferencejob.succeeded"),
            ("Failed", "inferencejob.failed"),
            ("Cancelled", "inferencejob.cancelled"),
        ] {
            assert_eq!(told(json!({ "phase": phase }))["type"], event);
        }
        for phase in ["Pending", "Running"] {
            assert_eq!(told(json!({ "phase": phase })), Value::Null);
        }
    }

    #[test]
    fn a_failure_and_a_clipped_result_are_told() {
        let failure = json!({"reason": "InvalidPicture", "message": "no JPEG", "retryable": false});
        let failed = told(json!({"phase": "Failed", "failure": failure}));
        assert_eq!(failed["data"]["failure"], failure);
        let clipped = json!({"phase": "Succeeded", "resultSha256": "0", "resultBytes": 9});
        assert_eq!(told(clipped)["data"]["resultTruncated"], true);
    }

    #[test]
    fn the_id_is_the_job_s_own() {
        assert_eq!(id(&job(json!({"phase": "Failed"}))), "msg_u-1");
    }
}
