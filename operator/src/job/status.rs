//! The next status of a job after each event: a note, the start or the end of an attempt, a deadline.
//! Pure; every status is clipped to the schema's bounds.

pub(crate) mod batch;

use super::decide::{Ending, Note};
use super::retry::{NextAttempt, RESULT_NOT_STORED, Success};
use crate::time::later;
use fovea_crds::{
    Failure, InferenceJob, InferenceJobStatus, Phase, ResolvedPoolRef,
    conditions::{self, ACCEPTED, COMPLETE, FAILED, RECONCILING, SCHEDULED, STALLED, SUSPENDED},
};
use fovea_protocol::Stage;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    pub pool: ResolvedPoolRef,
    pub runner: String,
    pub at: Timestamp,
}

/// A result that is stored in the bucket because it is too large for a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredResult {
    pub bytes: u64,
    pub sha256: String,
}

pub(crate) fn noted(job: &InferenceJob, note: &Note, now: Timestamp) -> InferenceJobStatus {
    let mut status = Draft::of(job, now);
    match note {
        Note::Accepted(pool) => {
            status.accept(pool);
            status.set(SCHEDULED, "False", "Queued", "waiting for a free runner");
        }
        Note::Held { reason, message } => {
            status.set(ACCEPTED, "False", reason, message);
        }
        Note::Suspended(why) => {
            status.set(SUSPENDED, "True", why.reason(), why.message());
            // Restored with its status, it may have been at work.
            status.to.phase = Phase::Pending;
            if why.is_restore() {
                // Its active deadline counts anew from its next attempt.
                status.to.start_time = None;
            }
        }
        Note::Resumed => status.set(SUSPENDED, "False", "Resumed", "attempts may start again"),
    }
    status.done()
}

/// The status of a job with an attempt under way, which has reached `stage`.
pub(crate) fn running(
    job: &InferenceJob,
    begun: &Begun,
    stage: Stage,
    now: Timestamp,
) -> InferenceJobStatus {
    let mut status = Draft::of(job, now);
    status.begin(begun);
    let doing = match stage {
        Stage::Fetching => "was downloading the picture",
        Stage::Queued => "was waiting for the model",
        Stage::Running => "was running the model",
        Stage::Unknown => "had the job",
    };
    let message = format!("after a second the runner {} {doing}", begun.runner);
    status.set(SCHEDULED, "True", "RunnerFound", &message);
    status.to.phase = Phase::Running;
    status.to.next_attempt_time = None;
    status.done()
}

/// The status of a job whose result is kept until the object store takes it; `why` it has not.
pub(crate) fn unstored(
    job: &InferenceJob,
    begun: &Begun,
    why: &str,
    now: Timestamp,
) -> InferenceJobStatus {
    let mut status = Draft::of(job, now);
    status.begin(begun);
    status.set(SCHEDULED, "True", RESULT_NOT_STORED, why);
    status.to.phase = Phase::Running;
    status.to.next_attempt_time = None;
    status.done()
}

/// Whether the status says that an attempt is under way.
pub(crate) fn is_running(job: &InferenceJob) -> bool {
    let status = job.status.as_ref();
    let scheduled = status.and_then(|status| conditions::get(&status.conditions, SCHEDULED));
    // A former leader's kept result went with it.
    job.phase() == Phase::Running
        && scheduled.is_none_or(|scheduled| scheduled.reason != RESULT_NOT_STORED)
}

/// The status of a job that waits for another attempt; the last one ended at `now`.
pub(crate) fn waiting(
    job: &InferenceJob,
    begun: &Begun,
    next: &NextAttempt,
    now: Timestamp,
) -> InferenceJobStatus {
    let NextAttempt {
        delay,
        attempts,
        interruptions,
        exclusive,
        failure,
    } = next;
    let mut status = Draft::of(job, now);
    status.begin(begun);
    status.set(SCHEDULED, "False", &failure.reason, &failure.message);
    let draft = &mut status.to;
    draft.phase = Phase::Pending;
    draft.attempts = *attempts;
    draft.interruptions = *interruptions;
    draft.exclusive = *exclusive;
    draft.next_attempt_time = Some(Time(later(now, *delay)));
    status.done()
}

/// The status of a job that succeeded; `stored` if the status holds only the beginning of the result.
pub(crate) fn succeeded(
    job: &InferenceJob,
    begun: &Begun,
    success: Success,
    stored: Option<StoredResult>,
    now: Timestamp,
) -> InferenceJobStatus {
    let Success {
        result,
        model,
        timings,
        reused,
        answered: _,
        cost_micros: _,
    } = success;
    let mut status = Draft::of(job, now);
    status.begin(begun);
    let draft = &mut status.to;
    draft.attempts = draft.attempts.saturating_add(1);
    draft.result = Some(result);
    draft.model = Some(model);
    draft.timings = Some(timings);
    draft.reused = reused;
    (draft.result_bytes, draft.result_sha256) =
        stored.map(|stored| (stored.bytes, stored.sha256)).unzip();
    status.end(
        Phase::Succeeded,
        "Succeeded",
        "the result is in status.result",
    );
    status.done()
}

/// The status of a job that ends without a result; `begun` is the attempt that failed, if an attempt
/// ended the job.
pub(crate) fn ended(
    job: &InferenceJob,
    begun: Option<&Begun>,
    ending: &Ending,
    now: Timestamp,
) -> InferenceJobStatus {
    let mut status = Draft::of(job, now);
    if let Some(begun) = begun {
        status.begin(begun);
        if let Ending::Failed(_) = ending {
            status.to.attempts = status.to.attempts.saturating_add(1);
        }
    }
    status.end_without_result(ending);
    status.done()
}

/// A minimal status that ends a job whose real status the API server rejects.
pub(crate) fn rejected(job: &InferenceJob, why: &str, now: Timestamp) -> InferenceJobStatus {
    let failure = Failure {
        reason: "ResultRejected".to_owned(),
        message: format!("the API server rejected the job's status: {why}"),
        retryable: false,
    };
    let attempts = job.status.as_ref().map_or(0, |status| status.attempts);
    let mut status = Draft {
        to: InferenceJobStatus {
            attempts,
            observed_generation: job.metadata.generation,
            ..Default::default()
        },
        now,
    };
    status.end(Phase::Failed, &failure.reason, &failure.message);
    status.to.failure = Some(failure);
    status.done()
}

/// Reason of the most important condition that the latest write changed; `None` if it changed none.
pub(crate) fn reason<'a>(
    before: Option<&InferenceJobStatus>,
    status: &'a InferenceJobStatus,
) -> Option<&'a str> {
    let known = before.map_or(&[][..], |before| &before.conditions);
    let is_new = |condition: &&Condition| !known.contains(condition);
    let types = [COMPLETE, FAILED, SUSPENDED, SCHEDULED, ACCEPTED].into_iter();
    types
        .filter_map(|type_| conditions::get(&status.conditions, type_))
        .find(is_new)
        .map(|condition| condition.reason.as_str())
}

struct Draft {
    to: InferenceJobStatus,
    now: Timestamp,
}

impl Draft {
    fn of(job: &InferenceJob, now: Timestamp) -> Self {
        let mut to = job.status.clone().unwrap_or_default();
        to.observed_generation = job.metadata.generation;
        Self { to, now }
    }

    fn accept(&mut self, pool: &ResolvedPoolRef) {
        self.to.pool_ref = Some(pool.clone());
        let message = format!("pool {}/{} accepts the job", pool.namespace, pool.name);
        self.set(ACCEPTED, "True", "PoolFound", &message);
    }

    fn begin(&mut self, begun: &Begun) {
        let Begun { pool, runner, at } = begun;
        self.accept(pool);
        self.to.start_time.get_or_insert(Time(*at));
        self.to.runner = Some(runner.clone());
    }

    /// Ends the job. What led to its end is no longer of use: each condition costs the API server.
    fn end(&mut self, phase: Phase, reason: &str, message: &str) {
        self.to.conditions.clear();
        if phase == Phase::Succeeded {
            self.set(COMPLETE, "True", reason, message);
        } else {
            self.set(FAILED, "True", reason, message);
        }
        // A cancelled job is what its spec asks for.
        if phase == Phase::Failed {
            self.set(STALLED, "True", reason, message);
        }
        self.to.phase = phase;
        self.to.completion_time = Some(Time(self.now));
        self.to.next_attempt_time = None;
    }

    fn end_without_result(&mut self, ending: &Ending) {
        match ending {
            Ending::Cancelled => self.end(Phase::Cancelled, "Cancelled", "spec.cancel is true"),
            Ending::Failed(failure) => {
                self.end(Phase::Failed, &failure.reason, &failure.message);
                self.to.failure = Some(failure.clone());
            }
        }
    }

    fn set(&mut self, type_: &str, value: &str, reason: &str, message: &str) {
        conditions::set(
            &mut self.to.conditions,
            (type_, value),
            (reason, message),
            self.now,
        );
    }

    /// What an unfinished job waits for, or what is done with it.
    fn under_way(&self) -> Option<&Condition> {
        let get = |type_| conditions::get(&self.to.conditions, type_);
        let suspended = conditions::get_true(&self.to.conditions, SUSPENDED);
        let refused = get(ACCEPTED).filter(|accepted| accepted.status == "False");
        let known = get(SCHEDULED).or_else(|| get(ACCEPTED));
        suspended.or(refused).or(known).or_else(|| get(SUSPENDED))
    }

    fn done(mut self) -> InferenceJobStatus {
        if !self.to.phase.is_terminal()
            && let Some(Condition {
                reason, message, ..
            }) = self.under_way().cloned()
        {
            self.set(RECONCILING, "True", &reason, &message);
        }
        self.to.clipped()
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
