//! What follows an attempt: success, failure, or another attempt. Pure: no clock, no client; it
//! returns durations and never sleeps.

use crate::time::later;
use fovea_crds::{
    Failure, InferenceJob, InferenceJobSpec, InferenceJobStatus, Input, JobResult, Retry,
    ServedModel, Timings,
};
use fovea_protocol::{Answer, Problem, Reason};
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::time::Duration;

/// Delays after the first, the second and every further lost runner.
const INTERRUPTION_DELAYS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

pub(super) const LONGEST_INTERRUPTION: Duration =
    INTERRUPTION_DELAYS[INTERRUPTION_DELAYS.len() - 1];

/// A job fails after it has lost this many runners.
pub(crate) const MAX_INTERRUPTIONS: u32 = 10;

/// Reason of an attempt that failed because the object store is down.
pub(crate) const STORE_UNAVAILABLE: &str = "StoreUnavailable";

/// Reason of a result that is not in the bucket although it is too large for a status.
pub(crate) const RESULT_NOT_STORED: &str = "ResultNotStored";

/// Age of a job up to which its picture may yet be put: longer than the API takes from the create to its
/// answer.
const PUT_AGAIN_WITHIN: SignedDuration = SignedDuration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Success {
    /// The whole result, not yet clipped to a status.
    pub result: JobResult,
    pub model: ServedModel,
    /// Durations of the attempt's stages; the operator adds the job's wait for a runner.
    pub timings: Timings,
    /// Whether the result was given before: nothing was run.
    pub reused: bool,
    /// The question and the answer, if they are to be kept for reuse.
    pub answered: Option<Box<(String, Answer)>>,
    /// Time of the runner that the attempt used, if the runner measures it.
    pub cost_micros: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Succeeded(Success),
    Problem(Problem),
    /// The runner stopped answering, or its connection broke.
    Lost(String),
    /// The job must never run: no runner was asked.
    Refused(Failure),
    /// The attempt did not start: the runner had no free slot, was not ready or was unreachable.
    NotBegun(String),
}

impl Outcome {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Succeeded(_) => "none",
            Self::Problem(problem) => problem.reason.name(),
            Self::Refused(_) => "Refused",
            Self::Lost(_) => "RunnerLost",
            Self::NotBegun(_) => "NotBegun",
        }
    }
}

impl From<Problem> for Outcome {
    /// A runner whose device failed may still report it, but cannot go on: it counts as lost.
    fn from(problem: Problem) -> Self {
        match problem.reason {
            Reason::DeviceLost => Self::Lost(problem.detail),
            _ => Self::Problem(problem),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded(_) => f.write_str("succeeded"),
            Self::Problem(problem) => write!(f, "{:?}: {}", problem.reason, problem.detail),
            Self::Lost(detail) => write!(f, "runner lost: {detail}"),
            Self::Refused(failure) => write!(f, "{}: {}", failure.reason, failure.message),
            Self::NotBegun(detail) => write!(f, "not begun: {detail}"),
        }
    }
}

/// A job's next attempt, after one that did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NextAttempt {
    pub delay: Duration,
    /// Attempts so far that count against `spec.retry.limit`.
    pub attempts: u32,
    pub interruptions: u32,
    /// Whether the job runs alone on its runner from now on.
    pub exclusive: bool,
    /// Why the previous attempt did not succeed, for the job's condition.
    pub failure: Failure,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    Succeed(Success),
    Fail(Failure),
    Retry(NextAttempt),
    /// The attempt did not start: the job returns to the queue and no attempt is counted.
    Requeue,
}

impl Next {
    pub(crate) fn outcome(&self, interruptions_before: u32) -> &'static str {
        match self {
            Self::Succeed(_) => "succeeded",
            Self::Fail(_) => "failed",
            Self::Retry(next) if next.interruptions > interruptions_before => "interrupted",
            Self::Retry(_) => "retried",
            Self::Requeue => "refused",
        }
    }
}

/// Decides what follows `outcome`. `alone_on_a_proven_runner`: the runner ran only this job and had
/// served another before, so that the job itself is the likely cause of its loss. `jitter` in 0..1
/// adds up to a tenth to a retry's delay.
pub(crate) fn next(
    outcome: Outcome,
    status: &InferenceJobStatus,
    retry: &Retry,
    alone_on_a_proven_runner: bool,
    jitter: f64,
) -> Next {
    match outcome {
        Outcome::Succeeded(success) => Next::Succeed(success),
        Outcome::NotBegun(_) => Next::Requeue,
        Outcome::Refused(failure) => Next::Fail(failure),
        Outcome::Problem(problem) => match problem.reason {
            reason if is_refusal(reason) => Next::Requeue,
            reason => {
                let failure = Failure {
                    reason: match reason {
                        Reason::Unknown => "InvalidRunnerAnswer".to_owned(),
                        known => format!("{known:?}"),
                    },
                    message: problem.detail,
                    retryable: problem.retryable && reason.retryable(),
                };
                counted(failure, status, retry, jitter).into()
            }
        },
        Outcome::Lost(detail) => {
            lost(&detail, status, retry, alone_on_a_proven_runner, jitter).into()
        }
    }
}

/// Decides what follows an attempt of a job of age `age` that failed because the object store is down.
/// It is not counted before the job is older than its queue deadline: no outage uses up the attempts of a
/// job that could have waited for a runner as long. The delay grows with the age, so that a long outage
/// costs few status writes.
pub(crate) fn store_down(
    failure: Failure,
    status: &InferenceJobStatus,
    spec: &InferenceJobSpec,
    age: Duration,
    jitter: f64,
) -> Result<NextAttempt, Failure> {
    if age >= Duration::from_secs(u64::from(spec.queue_deadline_seconds)) {
        return counted(failure, status, &spec.retry, jitter);
    }
    let greatest = Duration::from_secs(u64::from(spec.retry.max_delay_seconds));
    let delay = (age / 10).min(greatest).max(LONGEST_INTERRUPTION);
    Ok(NextAttempt {
        delay: with_jitter(delay, jitter),
        attempts: status.attempts,
        interruptions: status.interruptions,
        exclusive: status.exclusive,
        failure,
    })
}

/// Bounds on the time for which the operator keeps one result that the store does not take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepFor {
    /// While the store refuses it.
    pub refused: Duration,
    /// In all.
    pub total: Duration,
}

impl KeepFor {
    pub(crate) fn of(refused: Duration, spec: &InferenceJobSpec) -> Self {
        let queue = Duration::from_secs(u64::from(spec.queue_deadline_seconds));
        Self {
            refused,
            total: refused.max(queue),
        }
    }

    /// The failure that ends the job where a bound has passed. `refused`: for how long every try was
    /// refused, `None` if the last was not; `total`: since the first try. `why`: the last try's error.
    pub(crate) fn over(
        &self,
        refused: Option<Duration>,
        total: Duration,
        why: &str,
    ) -> Option<Failure> {
        let message = match refused {
            Some(refused) if refused >= self.refused => format!(
                "the object store has refused the job's result for {} s: {why}",
                refused.as_secs()
            ),
            _ if total >= self.total => format!(
                "the object store has not taken the job's result for {} s: {why}",
                total.as_secs()
            ),
            _ => return None,
        };
        Some(Failure {
            reason: RESULT_NOT_STORED.to_owned(),
            message,
            retryable: true,
        })
    }
}

/// The API puts a picture a second time, right after it created the job, if the namespace was deleted and
/// created again meanwhile. Until then the picture is missing, which is no reason to fail for good.
pub(crate) fn unless_put_again(outcome: Outcome, job: &InferenceJob, now: Timestamp) -> Outcome {
    let is_upload = matches!(job.spec.input, Input::Upload { .. });
    let is_young = now < later(job.created(), PUT_AGAIN_WITHIN);
    match outcome {
        Outcome::Problem(problem)
            if problem.reason == Reason::PictureNotFound
                && is_upload
                && job.is_made_by_api()
                && is_young =>
        {
            Outcome::Problem(Problem::new(Reason::FetchFailed, problem.detail))
        }
        outcome => outcome,
    }
}

/// Whether `reason` means that the runner did not start the attempt, which is then not counted.
pub(crate) fn is_refusal(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Busy
            | Reason::NotReady
            | Reason::UnknownModel
            | Reason::StaleEpoch
            | Reason::Unauthorized
    )
}

impl From<Result<NextAttempt, Failure>> for Next {
    fn from(next: Result<NextAttempt, Failure>) -> Self {
        next.map_or_else(Self::Fail, Self::Retry)
    }
}

fn counted(
    failure: Failure,
    status: &InferenceJobStatus,
    retry: &Retry,
    jitter: f64,
) -> Result<NextAttempt, Failure> {
    let attempts = status.attempts.saturating_add(1);
    if !failure.retryable || attempts > retry.limit {
        return Err(failure);
    }
    Ok(NextAttempt {
        delay: with_jitter(delay_after(attempts, retry), jitter),
        attempts,
        interruptions: status.interruptions,
        exclusive: status.exclusive,
        failure,
    })
}

fn lost(
    detail: &str,
    status: &InferenceJobStatus,
    retry: &Retry,
    blame_the_job: bool,
    jitter: f64,
) -> Result<NextAttempt, Failure> {
    let interruptions = status.interruptions.saturating_add(1);
    let failure = Failure {
        reason: "RunnerLost".to_owned(),
        message: format!("the runner was lost during the attempt ({detail})"),
        retryable: true,
    };
    if interruptions >= MAX_INTERRUPTIONS {
        return Err(Failure {
            message: format!(
                "{interruptions} runners were lost while they ran this job; the last: {detail}"
            ),
            ..failure
        });
    }
    if blame_the_job {
        let next = counted(failure, status, retry, jitter)?;
        return Ok(NextAttempt {
            interruptions,
            exclusive: true,
            ..next
        });
    }
    let step = (interruptions as usize - 1).min(INTERRUPTION_DELAYS.len() - 1);
    Ok(NextAttempt {
        delay: INTERRUPTION_DELAYS[step],
        attempts: status.attempts,
        interruptions,
        exclusive: true,
        failure,
    })
}

/// Adds up to a tenth.
fn with_jitter(delay: Duration, jitter: f64) -> Duration {
    delay.mul_f64(1.0 + 0.1 * jitter.clamp(0.0, 1.0))
}

/// Doubles from the initial delay to the greatest: 60, 120, 240 s by default.
pub(crate) fn delay_after(attempts: u32, retry: &Retry) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let seconds = u64::from(retry.initial_delay_seconds) << doublings;
    Duration::from_secs(seconds.min(u64::from(retry.max_delay_seconds)))
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
