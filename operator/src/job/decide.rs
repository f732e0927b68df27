//! What to do about a job: a pure function of what was observed. Time is an argument.

use super::retry::LONGEST_INTERRUPTION;
use super::suspension::{RestoreConfig, Suspension};
use crate::time::later;
use fovea_crds::conditions::{self, ACCEPTED, QUOTA_EXCEEDED, TOO_MANY_FINISHED_JOBS};
use fovea_crds::{Failure, InferenceJob, InferenceJobStatus, MANAGER, ResolvedPoolRef};
use jiff::{SignedDuration, Timestamp};

/// A job that waits this long gets the condition `Accepted`; a faster one saves the write.
pub(crate) const WRITE_ACCEPTED_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// The pool and the model that a job runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub pool: ResolvedPoolRef,
    pub model: String,
}

/// Why no pool accepts the job, for now or for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The job waits: a change of a pool can resolve it.
    Hold {
        reason: &'static str,
        /// The cause, and what to do about it.
        message: String,
    },
    /// The job fails: the pool accepts jobs of this namespace, but does not serve what the job names.
    Never(Failure),
}

/// The observed state of one unfinished job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed<'a> {
    pub job: &'a InferenceJob,
    pub now: Timestamp,
    pub in_flight: bool,
    /// The pool and model to run it, or why no pool accepts it.
    pub placement: &'a Result<Placement, Refusal>,
    /// Why the namespace must not start another job.
    pub full: Option<&'a str>,
    /// Why the job is one unfinished job too many for its namespace.
    pub excess: Option<&'a str>,
    pub restore: RestoreConfig,
}

/// An end of a job without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Cancelled,
    /// A deadline passed, or its pool can never run it.
    Failed(Failure),
}

impl Ending {
    /// The metrics' label for the reason why it ended an attempt.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Cancelled => "Cancelled",
            Self::Failed(_) => "ActiveDeadlineExceeded",
        }
    }
}

/// What to do about a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Leave,
    WakeAt(Timestamp),
    /// Write a status that does not end the job.
    Write(Note),
    /// End the job, and any attempt under way.
    End(Ending),
    /// Reconcile it again at `wake_at`: its namespace has too many unfinished jobs.
    Hold {
        /// Its next deadline.
        wake_at: Timestamp,
        /// The condition `Accepted` to write.
        note: Option<Note>,
    },
    /// Queue it, and reconcile it again at `wake_at`.
    Queue {
        placement: Placement,
        /// Its next deadline, or the time of its `Accepted` write.
        wake_at: Timestamp,
        /// The condition `Accepted` to write, because it has waited long enough.
        note: Option<Note>,
    },
}

/// A change of conditions that leaves the phase as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// A pool accepts it; it waits for a runner.
    Accepted(ResolvedPoolRef),
    /// No pool accepts it at present.
    Held {
        reason: &'static str,
        message: String,
    },
    Suspended(Suspension),
    /// Nothing suspends it any more.
    Resumed,
}

impl Note {
    /// Whether its write may wait for others: nobody waits for it, or it renews what the status says. There may be
    /// such a note for every job at once.
    pub(crate) fn may_wait(&self, job: &InferenceJob) -> bool {
        let says = |type_, value, reason| {
            let status = job.status.as_ref();
            status.is_some_and(|status| has_reason(status, type_, value, reason))
        };
        match self {
            Self::Held { reason, .. } => says(ACCEPTED, "False", reason),
            Self::Suspended(why) => {
                why.is_restore() || says(conditions::SUSPENDED, "True", why.reason())
            }
            Self::Accepted(_) | Self::Resumed => false,
        }
    }
}

pub(crate) fn decide(observed: Observed<'_>) -> Action {
    let Observed {
        job,
        now,
        in_flight,
        placement,
        full,
        excess,
        restore,
    } = observed;
    let nothing = InferenceJobStatus::default();
    let status = job.status.as_ref().unwrap_or(&nothing);

    if job
        .spec
        .managed_by
        .as_deref()
        .is_some_and(|manager| manager != MANAGER)
    {
        return Action::Leave;
    }
    if job.is_finished() || job.metadata.deletion_timestamp.is_some() {
        return Action::Leave;
    }
    if job.spec.cancel {
        return Action::End(Ending::Cancelled);
    }
    let suspension = Suspension::of(job, restore).filter(|_| !in_flight);
    if let Some(why) = suspension
        && why.is_restore()
    {
        // The attempt that its deadline counts from was lost with the old object.
        return suspend(job, status, why, None, now);
    }
    let active_until = active_deadline(job, status);
    if active_until.is_some_and(|until| until <= now) {
        return Action::End(Ending::Failed(past(
            "ActiveDeadlineExceeded",
            "the attempts took longer than spec.activeDeadlineSeconds: raise it, or check why the attempts failed",
        )));
    }
    if in_flight {
        return active_until.map_or(Action::Leave, Action::WakeAt);
    }
    if let Some(why) = suspension {
        return suspend(job, status, why, active_until, now);
    }
    if condition_is(status, conditions::SUSPENDED, "True") {
        return Action::Write(Note::Resumed);
    }
    let queue_until = queue_deadline(job, status);
    let deadline = active_until.map_or(queue_until, |active| active.min(queue_until));
    if let Some(next) = status
        .next_attempt_time
        .as_ref()
        .filter(|next| next.0 > now && next.0 <= later(now, longest_wait(job)))
    {
        return Action::WakeAt(next.0.min(deadline));
    }
    if queue_until <= now {
        let failure = queued_too_long(excess.is_some(), full.is_some());
        return Action::End(Ending::Failed(failure));
    }
    if let Some(message) = excess {
        return hold(job, status, message, deadline);
    }
    match placement {
        Err(Refusal::Never(failure)) => Action::End(Ending::Failed(failure.clone())),
        Err(Refusal::Hold { reason, message }) => {
            if is_current(job, status) && is_written(status, ACCEPTED, "False", reason, message) {
                Action::WakeAt(deadline)
            } else {
                Action::Write(Note::Held {
                    reason,
                    message: message.clone(),
                })
            }
        }
        Ok(placement) => {
            let (note, written) = if let Some(message) = full {
                let reason = TOO_MANY_FINISHED_JOBS;
                // Its message has numbers that change while it waits.
                let written =
                    is_current(job, status) && has_reason(status, ACCEPTED, "False", reason);
                let message = message.to_owned();
                (Note::Held { reason, message }, written)
            } else {
                let written = is_current(job, status) && condition_is(status, ACCEPTED, "True");
                (Note::Accepted(placement.pool.clone()), written)
            };
            let due = later(ready_since(job, status), WRITE_ACCEPTED_AFTER);
            let wake_at = if written || due <= now {
                deadline
            } else {
                deadline.min(due)
            };
            Action::Queue {
                placement: placement.clone(),
                wake_at,
                note: (!written && due <= now).then_some(note),
            }
        }
    }
}

/// No attempt of the job starts.
fn suspend(
    job: &InferenceJob,
    status: &InferenceJobStatus,
    why: Suspension,
    active_until: Option<Timestamp>,
    now: Timestamp,
) -> Action {
    let (type_, reason, message) = (conditions::SUSPENDED, why.reason(), why.message());
    if is_current(job, status) && is_written(status, type_, "True", reason, message) {
        return active_until.map_or(Action::Leave, Action::WakeAt);
    }
    let shown_from = why.shown_from(job);
    if shown_from > now {
        return Action::WakeAt(shown_from);
    }
    Action::Write(Note::Suspended(why))
}

/// The job is one too many for its namespace.
fn hold(
    job: &InferenceJob,
    status: &InferenceJobStatus,
    message: &str,
    wake_at: Timestamp,
) -> Action {
    // Its message has numbers that change while it waits.
    let written = is_current(job, status) && has_reason(status, ACCEPTED, "False", QUOTA_EXCEEDED);
    let note = (!written).then(|| Note::Held {
        reason: QUOTA_EXCEEDED,
        message: message.to_owned(),
    });
    Action::Hold { wake_at, note }
}

/// Time from which the queue deadline counts: the latest of the job's creation, its last resumption and
/// the end of its last retry delay. Suspended time does not count.
fn ready_since(job: &InferenceJob, status: &InferenceJobStatus) -> Timestamp {
    let resumed = conditions::get(&status.conditions, conditions::SUSPENDED)
        .filter(|condition| condition.status == "False")
        .map(|condition| condition.last_transition_time.0);
    let retried = status.next_attempt_time.as_ref().map(|time| time.0);
    [resumed, retried]
        .into_iter()
        .flatten()
        .fold(job.created(), Timestamp::max)
}

/// Upper bound on the wait for a retry. A time further ahead came from a clock that was set back since,
/// or from a leader whose clock was ahead, and is ignored.
fn longest_wait(job: &InferenceJob) -> SignedDuration {
    let after_lost_runner = SignedDuration::try_from(LONGEST_INTERRUPTION).unwrap_or_default();
    let delay = seconds(job.spec.retry.max_delay_seconds).max(after_lost_runner);
    delay.saturating_mul(2)
}

/// A batch that has started no longer waits for a runner, whatever its next shard waits for.
fn queue_deadline(job: &InferenceJob, status: &InferenceJobStatus) -> Timestamp {
    if job.spec.input.is_batch() && status.start_time.is_some() {
        return Timestamp::MAX;
    }
    later(
        ready_since(job, status),
        seconds(job.spec.queue_deadline_seconds),
    )
}

fn active_deadline(job: &InferenceJob, status: &InferenceJobStatus) -> Option<Timestamp> {
    let start = status.start_time.as_ref()?;
    Some(later(start.0, seconds(job.spec.active_deadline_seconds?)))
}

/// Whether tools that follow kstatus take the status for one of the present spec, and the job for unfinished.
fn is_current(job: &InferenceJob, status: &InferenceJobStatus) -> bool {
    status.observed_generation == job.metadata.generation
        && condition_is(status, conditions::RECONCILING, "True")
}

fn condition_is(status: &InferenceJobStatus, type_: &str, value: &str) -> bool {
    conditions::get(&status.conditions, type_).is_some_and(|condition| condition.status == value)
}

fn has_reason(status: &InferenceJobStatus, type_: &str, value: &str, reason: &str) -> bool {
    conditions::get(&status.conditions, type_)
        .is_some_and(|condition| condition.status == value && condition.reason == reason)
}

fn is_written(
    status: &InferenceJobStatus,
    type_: &str,
    value: &str,
    reason: &str,
    message: &str,
) -> bool {
    conditions::get(&status.conditions, type_).is_some_and(|condition| {
        condition.status == value
            && condition.reason == reason
            && condition.message == fovea_crds::clip::message(message)
    })
}

/// Its namespace has too many unfinished jobs (`excess`), or too many finished ones (`full`).
fn queued_too_long(excess: bool, full: bool) -> Failure {
    let message = if excess {
        "the namespace had too many unfinished jobs to accept this one within spec.queueDeadlineSeconds: raise its limit, or create fewer jobs at once"
    } else if full {
        "the namespace had too many finished jobs to start this one within spec.queueDeadlineSeconds: delete finished jobs, or set spec.ttlSecondsAfterFinished on them"
    } else {
        "no runner started the job within spec.queueDeadlineSeconds: raise it, or check why the pool has no free runner"
    };
    past("QueueDeadlineExceeded", message)
}

fn past(reason: &str, message: &str) -> Failure {
    Failure {
        reason: reason.to_owned(),
        message: message.to_owned(),
        retryable: true,
    }
}

fn seconds(seconds: u32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(seconds))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
