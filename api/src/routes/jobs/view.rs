//! A job as the API shows it. Every member is always present, null if it has no value.

use fovea_crds::{
    BatchOutput, Callback, CallbackStatus, Counts, Failure, InferenceJob, InferenceJobStatus,
    Input, JobResult, Output, OutputFormat, Phase, Task, Timings, conditions,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use schemars::JsonSchema;
use serde::Serialize;

/// A job as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// Id of the job: the name of its InferenceJob.
    pub id: String,
    /// Namespace of the InferenceJob.
    pub namespace: String,
    /// Task that the job runs on the picture.
    pub task: Task,
    /// Name of the model that ran the job; before that, the model that the request named, if any.
    pub model: Option<String>,
    /// Phase of the job.
    pub phase: Phase,
    /// Time at which the job was created.
    pub created_at: Option<Time>,
    /// Time at which the first attempt began.
    pub started_at: Option<Time>,
    /// Time at which the job finished; null until then.
    pub completed_at: Option<Time>,
    /// Attempts that have ended: failed ones that count, and the successful one.
    pub attempts: u32,
    /// Result of the job: `{caption}`, `{predictions}` or `{detections}`.
    pub result: Option<JobResult>,
    /// Why the job failed; null unless it did.
    pub failure: Option<Failure>,
    /// Whether `result` is only the beginning of the whole result, which `GET /v1/jobs/{id}/result`
    /// returns.
    pub result_truncated: bool,
    /// Whether the result was given before, with `reuse`, and the picture was not run.
    pub reused: bool,
    /// Durations of the successful attempt.
    pub timings: Option<Timings>,
    /// Where the job's picture or pictures come from.
    pub input: InputKind,
    /// Batch: pictures by their outcome; null of a single picture, and before the batch is planned.
    pub counts: Option<Counts>,
    /// Batch: share of the work that is done, in thousandths.
    pub progress_permille: Option<u32>,
    /// Batch: pictures done per second, over the last minute.
    pub rate_per_second: Option<f64>,
    /// Batch: time at which it will be done if the rate stays as it is.
    pub estimated_completion_time: Option<Time>,
    /// Batch: where its results go; null of a single picture.
    pub output: Option<OutputView>,
    /// Callback of the job and its delivery state; null if the job has no callback.
    pub callback: Option<CallbackView>,
    /// State of the job in one sentence.
    pub message: String,
}

/// Where pictures come from: the name of the field of `spec.input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// A picture that was uploaded.
    Upload,
    /// A picture in the bucket.
    Object,
    /// A picture within the job.
    Inline,
    /// A batch: the pictures below a prefix.
    Prefix,
    /// A batch: the pictures that a manifest lists.
    Manifest,
    /// A batch: the pictures in tar archives.
    Archives,
}

impl InputKind {
    fn of(input: &Input) -> Self {
        match input {
            Input::Upload { .. } => Self::Upload,
            Input::Object { .. } => Self::Object,
            Input::Inline { .. } => Self::Inline,
            Input::Prefix { .. } => Self::Prefix,
            Input::Manifest { .. } => Self::Manifest,
            Input::Archives { .. } => Self::Archives,
        }
    }
}

/// Where a batch's results go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputView {
    /// Path below `data/<namespace>/` in the bucket.
    pub prefix: String,
    /// Format of the files.
    pub format: OutputFormat,
    /// Number of files with rows; null until the batch has ended.
    pub parts: Option<u32>,
    /// SHA-256 of `_SUCCESS.json`; null unless every picture is done.
    pub success_sha256: Option<String>,
}

impl OutputView {
    fn of(output: &Output, uid: &str, written: Option<&BatchOutput>) -> Self {
        Self {
            prefix: written.map_or_else(
                || format!("{}/{uid}", output.prefix),
                |written| written.prefix.clone(),
            ),
            format: output.format,
            parts: written.map(|written| written.parts),
            success_sha256: written.and_then(|written| written.success_sha256.clone()),
        }
    }
}

/// A callback as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackView {
    /// URL that receives the callback.
    pub url: String,
    /// Whether the receiver has accepted the callback.
    pub delivered: bool,
    /// Number of tries so far to deliver it.
    pub attempts: u32,
    /// Earliest time of the next try.
    pub next_attempt_time: Option<Time>,
    /// Error of the last failed try.
    pub last_error: Option<String>,
}

impl CallbackView {
    fn of(callback: &Callback, status: &InferenceJobStatus) -> Self {
        let CallbackStatus {
            delivered,
            attempts,
            next_attempt_time,
            last_error,
        } = status.callback.clone().unwrap_or_default();
        Self {
            url: callback.url.clone(),
            delivered,
            attempts,
            next_attempt_time,
            last_error,
        }
    }
}

impl JobView {
    pub fn of(job: &InferenceJob) -> Self {
        let nothing = InferenceJobStatus::default();
        let status = job.status.as_ref().unwrap_or(&nothing);
        let callback = job.spec.callback.as_ref();
        let served = status.model.as_ref().map(|model| model.name.clone());
        Self {
            id: job.name_any(),
            namespace: job.namespace().unwrap_or_default(),
            task: job.spec.task,
            model: served.or_else(|| job.spec.model.clone()),
            phase: status.phase,
            created_at: job.creation_timestamp(),
            started_at: status.start_time.clone(),
            completed_at: status.completion_time.clone(),
            attempts: status.attempts,
            result: status.result.clone(),
            failure: status.failure.clone(),
            result_truncated: status.result_sha256.is_some(),
            reused: status.reused,
            timings: status.timings,
            input: InputKind::of(&job.spec.input),
            counts: status.counts,
            progress_permille: status.progress_permille,
            rate_per_second: status.rate_per_second,
            estimated_completion_time: status.estimated_completion_time.clone(),
            output: (job.spec.output.as_ref()).map(|output| {
                OutputView::of(
                    output,
                    &job.uid().unwrap_or_default(),
                    status.output.as_ref(),
                )
            }),
            callback: callback.map(|callback| CallbackView::of(callback, status)),
            message: message(job, status),
        }
    }
}

fn message(job: &InferenceJob, status: &InferenceJobStatus) -> String {
    let reason = |kind: &str| {
        conditions::get(&status.conditions, kind)
            .filter(|condition| condition.status == "False" && !condition.message.is_empty())
            .map(|condition| condition.message.clone())
    };
    match status.phase {
        Phase::Succeeded => "The job is done.".to_owned(),
        Phase::Cancelled => "The job was cancelled.".to_owned(),
        Phase::Failed => status.failure.as_ref().map_or_else(
            || "The job failed.".to_owned(),
            |failure| format!("The job failed: {}", failure.message),
        ),
        Phase::Pending | Phase::Running if job.spec.cancel => {
            "The job is being cancelled.".to_owned()
        }
        Phase::Running => match status.counts {
            Some(counts) => format!("{} of {} pictures are done.", counts.done(), counts.total),
            None => "A runner works on the job.".to_owned(),
        },
        Phase::Pending if job.spec.suspend => "The job is suspended.".to_owned(),
        Phase::Pending if job.restore_mark().is_some() || is_held_as_restored(status) => {
            "The job was restored and is held.".to_owned()
        }
        Phase::Pending => match (
            &status.next_attempt_time,
            reason(conditions::ACCEPTED).or_else(|| reason(conditions::SCHEDULED)),
        ) {
            (Some(at), _) if status.attempts > 0 => format!(
                "Attempt {} failed; the next one begins at {}.",
                status.attempts, at.0
            ),
            (_, Some(why)) => format!("The job waits: {why}"),
            (_, None) => "The job waits for its turn.".to_owned(),
        },
    }
}

/// Whether the operator says that it holds the job as a restored one.
fn is_held_as_restored(status: &InferenceJobStatus) -> bool {
    conditions::get_true(&status.conditions, conditions::SUSPENDED)
        .is_some_and(|it| it.reason == conditions::RESTORED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::InferenceJobSpec;
    use serde_json::{Value, json};

    fn job(status: Value) -> InferenceJob {
        let mut job = InferenceJob::new(
            "7",
            InferenceJobSpec::new(Task::ImageToText, Input::Object { key: "a".into() }),
        );
        job.metadata.namespace = Some("ns".into());
        job.status = Some(serde_json::from_value(status).unwrap());
        job
    }

    #[test]
    fn every_member_is_there_before_anything_has_happened() {
        let mut new = job(json!({}));
        new.status = None;
        assert_eq!(
            serde_json::to_value(JobView::of(&new)).unwrap(),
            json!({
                "id": "7", "namespace": "ns", "task": "image-to-text", "model": null, "phase": "Pending",
                "createdAt": null, "startedAt": null, "completedAt": null, "attempts": 0,
                "result": null, "failure": null, "resultTruncated": false, "reused": false, "timings": null, "callback": null,
                "input": "object", "counts": null, "progressPermille": null, "ratePerSecond": null,
                "estimatedCompletionTime": null, "output": null,
                "message": "The job waits for its turn.",
            })
        );
    }

    #[test]
    fn a_result_is_shown_in_its_task_s_form() {
        let done = job(
            json!({"phase": "Succeeded", "attempts": 1, "result": {"caption": "a red circle"}, "model": {"name": "blip", "revision": "r"}}),
        );
        let view = serde_json::to_value(JobView::of(&done)).unwrap();
        assert_eq!(view["result"], json!({"caption": "a red circle"}));
        assert_eq!(view["model"], "blip");
    }

    #[test]
    fn a_batch_is_shown_with_its_counts_and_its_output() {
        let mut batch = job(
            json!({"phase": "Running", "counts": {"total": 20, "succeeded": 3, "failed": 1, "skipped": 2},
            "progressPermille": 200, "ratePerSecond": 1.5}),
        );
        batch.metadata.uid = Some("u".into());
        batch.spec.input = Input::Archives { prefix: "a".into() };
        batch.spec.output = Some(Output {
            prefix: "out".into(),
            format: OutputFormat::Csv,
        });
        let view = serde_json::to_value(JobView::of(&batch)).unwrap();
        assert_eq!(view["input"], "archives");
        assert_eq!(view["counts"]["failed"], 1);
        assert_eq!(view["ratePerSecond"], 1.5);
        assert_eq!(view["message"], "4 of 20 pictures are done.");
        let output =
            json!({"prefix": "out/u", "format": "csv", "parts": null, "successSha256": null});
        assert_eq!(view["output"], output);
    }

    #[test]
    fn a_callback_is_shown_from_the_first_moment() {
        let mut job = job(json!({}));
        job.spec.callback = Some(Callback {
            url: "https://a/".into(),
        });
        let shown = |job: &InferenceJob| serde_json::to_value(JobView::of(job)).unwrap();
        assert_eq!(
            shown(&job)["callback"],
            json!({"url": "https://a/", "delivered": false, "attempts": 0, "nextAttemptTime": null, "lastError": null})
        );
        let status = json!({"callback": {"delivered": true, "attempts": 2, "lastError": "503"}, "resultSha256": "0", "resultBytes": 9});
        job.status = Some(serde_json::from_value(status).unwrap());
        assert_eq!(
            (
                &shown(&job)["callback"]["delivered"],
                &shown(&job)["resultTruncated"]
            ),
            (&json!(true), &json!(true))
        );
    }

    #[test]
    fn the_sentence_says_what_the_job_waits_for() {
        let condition = |kind: &str, message: &str| json!({"type": kind, "status": "False", "reason": "R", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        for (status, sentence) in [
            (json!({"phase": "Running"}), "A runner works on the job."),
            (
                json!({"phase": "Failed", "failure": {"reason": "InvalidPicture", "message": "no JPEG", "retryable": false}}),
                "The job failed: no JPEG",
            ),
            (
                json!({"conditions": [condition("Scheduled", "no runner is ready")]}),
                "The job waits: no runner is ready",
            ),
            (
                json!({"attempts": 2, "nextAttemptTime": "2026-01-01T00:00:00Z"}),
                "Attempt 2 failed; the next one begins at 2026-01-01T00:00:00Z.",
            ),
        ] {
            assert_eq!(JobView::of(&job(status)).message, sentence);
        }
        let restored = json!({"type": "Suspended", "status": "True", "reason": "Restored", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let mut held = job(json!({"conditions": [restored]}));
        let sentence = "The job was restored and is held.";
        assert_eq!(JobView::of(&held).message, sentence);
        held.status = None;
        held.metadata.annotations = Some([("fovea.dev/restored".into(), "hold".into())].into());
        assert_eq!(JobView::of(&held).message, sentence);
        held.spec.suspend = true;
        assert_eq!(JobView::of(&held).message, "The job is suspended.");
        held.spec.cancel = true;
        assert_eq!(JobView::of(&held).message, "The job is being cancelled.");
    }
}
