//! The statuses of a batch.

use super::Draft;
use crate::job::decide::Ending;
use fovea_crds::conditions::SCHEDULED;
use fovea_crds::{
    BatchOutput, Counts, InferenceJob, InferenceJobStatus, Phase, ResolvedPoolRef, ServedModel,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Reason of a batch whose parts the object store does not take to the output.
pub(crate) const OUTPUT_NOT_WRITTEN: &str = "OutputNotWritten";

/// How far a batch has come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Numbers {
    pub counts: Counts,
    pub permille: u32,
    /// Shards on runners.
    pub shards: u32,
    /// Runners that were lost with a shard.
    pub interruptions: u32,
    pub per_second: Option<f64>,
    /// When it is done at this rate.
    pub done_at: Option<Timestamp>,
    pub model: Option<ServedModel>,
}

/// The status of a batch that is being planned; `why` it could not be yet.
pub(crate) fn planning(
    job: &InferenceJob,
    pool: &ResolvedPoolRef,
    began: Timestamp,
    why: Option<&str>,
    now: Timestamp,
) -> InferenceJobStatus {
    let mut status = Draft::of(job, now);
    status.begin_batch(pool, began);
    match why {
        None => status.set(SCHEDULED, "True", "Planning", "listing the pictures"),
        Some(why) => {
            let message = format!("the pictures cannot be listed: {why}");
            status.set(SCHEDULED, "False", "StoreUnavailable", &message);
        }
    }
    status.done()
}

/// The status of a batch that is planned and not done.
pub(crate) fn running(
    job: &InferenceJob,
    pool: &ResolvedPoolRef,
    began: Timestamp,
    numbers: &Numbers,
    now: Timestamp,
) -> InferenceJobStatus {
    let mut status = Draft::of(job, now);
    status.begin_batch(pool, began);
    // Without numbers: a condition that changes all the time says nothing new.
    match numbers.shards {
        0 => status.set(
            SCHEDULED,
            "False",
            "Queued",
            "no shard runs: waiting for a free runner, for a retry, or for spec.parallelism to be raised",
        ),
        _ => status.set(SCHEDULED, "True", "ShardsRunning", "runners work on shards"),
    }
    status.count(numbers);
    status.done()
}

/// The status of a batch whose parts cannot be copied to the output yet; `why` not.
pub(crate) fn copying(
    job: &InferenceJob,
    numbers: &Numbers,
    why: &str,
    now: Timestamp,
) -> InferenceJobStatus {
    let mut status = Draft::of(job, now);
    let message =
        format!("every picture is done, and the parts cannot be copied to the output yet: {why}");
    status.set(SCHEDULED, "False", OUTPUT_NOT_WRITTEN, &message);
    status.count(numbers);
    status.at_rest();
    status.done()
}

/// The status of a batch that is suspended.
pub(crate) fn paused(
    job: &InferenceJob,
    numbers: Option<&Numbers>,
    now: Timestamp,
) -> InferenceJobStatus {
    let mut status = Draft::of(job, now);
    status.to.phase = Phase::Pending;
    status.set(
        SCHEDULED,
        "False",
        "Suspended",
        "the job is suspended: no shard starts",
    );
    if let Some(numbers) = numbers {
        status.count(numbers);
    }
    status.at_rest();
    status.done()
}

/// The status of a batch of which every picture has its row.
pub(crate) fn succeeded(
    job: &InferenceJob,
    pool: &ResolvedPoolRef,
    began: Timestamp,
    numbers: &Numbers,
    output: BatchOutput,
    now: Timestamp,
) -> InferenceJobStatus {
    let mut status = Draft::of(job, now);
    status.begin_batch(pool, began);
    status.count(numbers);
    status.at_rest();
    status.to.attempts = status.to.attempts.saturating_add(1);
    let message = format!("the results are below {}", output.prefix);
    status.to.output = Some(output);
    status.end(Phase::Succeeded, "Succeeded", &message);
    status.done()
}

/// The status of a batch that ends before every picture has its row.
pub(crate) fn ended(
    job: &InferenceJob,
    numbers: Option<&Numbers>,
    output: Option<BatchOutput>,
    ending: &Ending,
    now: Timestamp,
) -> InferenceJobStatus {
    let mut status = Draft::of(job, now);
    if let Some(numbers) = numbers {
        status.count(numbers);
    }
    status.at_rest();
    status.to.output = output;
    status.end_without_result(ending);
    status.done()
}

impl Draft {
    fn begin_batch(&mut self, pool: &ResolvedPoolRef, began: Timestamp) {
        self.accept(pool);
        self.to.start_time.get_or_insert(Time(began));
        self.to.phase = Phase::Running;
        self.to.next_attempt_time = None;
    }

    fn count(&mut self, numbers: &Numbers) {
        self.to.counts = Some(numbers.counts);
        self.to.progress_permille = Some(numbers.permille);
        self.to.rate_per_second = numbers.per_second.map(|rate| (rate * 10.0).round() / 10.0);
        self.to.estimated_completion_time = numbers.done_at.map(Time);
        self.to.interruptions = numbers.interruptions;
        if numbers.model.is_some() {
            self.to.model.clone_from(&numbers.model);
        }
    }

    /// Nothing is under way any more.
    fn at_rest(&mut self) {
        self.to.rate_per_second = None;
        self.to.estimated_completion_time = None;
    }
}
