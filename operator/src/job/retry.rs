//! What follows an attempt: success, failure, or another attempt. Pure: no clock, no client; it
//! returns durations and never sleeps.

use crate::time::later;
use fovea_crds::labels;
use fovea_crds::{
    Failure, InferenceJob, InferenceJobSpec, InferenceJobStatus, Input, JobResult, Retry,
    ServedModel, Timings,
};
use fovea_protocol::{Problem, Reason};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
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
    let by_api = job
        .labels()
        .get(labels::CREATED_BY)
        .is_some_and(|by| by == labels::API);
    let is_young = now < later(job.created(), PUT_AGAIN_WITHIN);
    match outcome {
        Outcome::Problem(problem)
            if problem.reason == Reason::PictureNotFound && is_upload && by_api && is_young =>
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
fn delay_after(attempts: u32, retry: &Retry) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let seconds = u64::from(retry.initial_delay_seconds) << doublings;
    Duration::from_secs(seconds.min(u64::from(retry.max_delay_seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use proptest::prelude::*;

    fn problem(reason: Reason) -> Outcome {
        Outcome::Problem(Problem::new(reason, "because"))
    }

    fn status(attempts: u32, interruptions: u32) -> InferenceJobStatus {
        InferenceJobStatus {
            attempts,
            interruptions,
            ..Default::default()
        }
    }

    fn after(outcome: Outcome, attempts: u32, interruptions: u32, alone: bool) -> Next {
        let status = status(attempts, interruptions);
        next(outcome, &status, &Retry::default(), alone, 0.0)
    }

    #[test]
    fn failed_attempts_are_retried_after_60_120_and_240_seconds_and_then_the_job_fails() {
        for (before, seconds) in [(0, 60), (1, 120), (2, 240)] {
            let next = after(problem(Reason::FetchFailed), before, 0, false);
            assert!(
                matches!(&next, Next::Retry(NextAttempt { delay, attempts, exclusive: false, .. })
                    if *delay == Duration::from_secs(seconds) && *attempts == before + 1),
                "{next:?}"
            );
        }
        let last = after(problem(Reason::FetchFailed), 3, 0, false);
        assert!(
            matches!(last, Next::Fail(failure) if failure.reason == "FetchFailed" && failure.retryable)
        );
    }

    #[test]
    fn a_runner_whose_device_failed_is_a_lost_one() {
        let outcome = Outcome::from(Problem::new(Reason::DeviceLost, "because"));
        assert!(matches!(&outcome, Outcome::Lost(detail) if detail == "because"));
        let other = Outcome::from(Problem::new(Reason::OutOfMemory, "because"));
        assert_eq!(other, problem(Reason::OutOfMemory));
    }

    #[test]
    fn a_picture_that_is_not_a_picture_is_never_tried_again() {
        let end = after(problem(Reason::InvalidPicture), 0, 0, false);
        assert!(
            matches!(end, Next::Fail(failure) if !failure.retryable && failure.message == "because")
        );
    }

    #[test]
    fn only_a_young_upload_by_the_api_may_still_be_put() {
        let missing = || problem(Reason::PictureNotFound);
        let mut job = crate::fixtures::job();
        job.metadata.creation_timestamp = Some(Time(at(0)));
        job.metadata.labels = Some([(labels::CREATED_BY.to_owned(), "api".to_owned())].into());
        assert_eq!(unless_put_again(missing(), &job, at(0)), missing());
        let sha256 = "0".repeat(64);
        job.spec.input = Input::Upload { sha256 };
        let retried = unless_put_again(missing(), &job, at(59));
        assert_eq!(retried, problem(Reason::FetchFailed));
        assert_eq!(unless_put_again(missing(), &job, at(60)), missing());
        let other = problem(Reason::InvalidPicture);
        assert_eq!(unless_put_again(other.clone(), &job, at(0)), other);
        job.metadata.labels = None;
        assert_eq!(unless_put_again(missing(), &job, at(0)), missing());
    }

    #[test]
    fn a_refused_job_is_never_tried_again() {
        let failure = Failure {
            reason: "FolderNotOwned".into(),
            message: "because".into(),
            retryable: false,
        };
        let end = after(Outcome::Refused(failure.clone()), 0, 0, false);
        assert_eq!(end, Next::Fail(failure));
    }

    #[test]
    fn a_runner_cannot_make_a_permanent_failure_retryable() {
        let mut lie = Problem::new(Reason::InvalidPicture, "");
        lie.retryable = true;
        let end = after(Outcome::Problem(lie), 0, 0, false);
        assert!(matches!(end, Next::Fail(failure) if !failure.retryable));
    }

    #[test]
    fn a_busy_runner_costs_nothing() {
        for reason in [
            Reason::Busy,
            Reason::NotReady,
            Reason::UnknownModel,
            Reason::StaleEpoch,
            Reason::Unauthorized,
        ] {
            assert_eq!(after(problem(reason), 3, 9, true), Next::Requeue);
        }
    }

    #[test]
    fn a_lost_runner_is_an_interruption_after_which_the_job_runs_alone() {
        for (before, seconds) in [(0, 1), (1, 5), (2, 30), (8, 30)] {
            let lost = Outcome::Lost("eof".into());
            let next = next(lost, &status(0, before), &Retry::default(), false, 0.9);
            assert!(
                matches!(&next, Next::Retry(NextAttempt { delay, attempts: 0, interruptions, exclusive: true, .. })
                    if *delay == Duration::from_secs(seconds) && *interruptions == before + 1),
                "{next:?}"
            );
        }
    }

    #[test]
    fn a_job_that_kills_proven_runners_alone_uses_up_its_attempts() {
        let lost = || Outcome::Lost("eof".into());
        let Next::Retry(once) = after(lost(), 0, 1, true) else {
            panic!("it has attempts left")
        };
        assert_eq!((once.attempts, once.interruptions), (1, 2));
        assert!(once.exclusive);
        let end = after(lost(), 3, 4, true);
        assert!(matches!(end, Next::Fail(failure) if failure.reason == "RunnerLost"));
    }

    #[test]
    fn an_outage_of_the_store_costs_no_attempt_until_the_job_is_older_than_its_queue_deadline() {
        let spec = crate::fixtures::job().spec;
        let failure = || Failure {
            reason: STORE_UNAVAILABLE.to_owned(),
            message: "because".to_owned(),
            retryable: true,
        };
        let seconds = Duration::from_secs;
        let deadline = u64::from(spec.queue_deadline_seconds);
        for (age, delay) in [(1, 33), (1000, 110), (deadline - 1, 660)] {
            let age = seconds(age);
            let next = store_down(failure(), &status(3, 2), &spec, age, 1.0).unwrap();
            assert_eq!((next.attempts, next.interruptions), (3, 2));
            assert_eq!(next.delay, seconds(delay));
        }
        let next = store_down(failure(), &status(2, 0), &spec, seconds(deadline), 0.0).unwrap();
        assert_eq!(next.attempts, 3);
        let end = store_down(failure(), &status(3, 0), &spec, seconds(deadline), 0.0);
        assert_eq!(end, Err(failure()));
    }

    #[test]
    fn a_kept_result_is_given_up_when_it_was_refused_too_long_or_kept_too_long() {
        let seconds = Duration::from_secs;
        let mut spec = crate::fixtures::job().spec;
        spec.queue_deadline_seconds = 3600;
        let bounds = KeepFor::of(seconds(600), &spec);
        let over = |refused: Option<u64>, total| {
            bounds.over(refused.map(seconds), seconds(total), "no such bucket")
        };
        assert_eq!(over(None, 3599), None);
        assert_eq!(over(Some(599), 3599), None);
        let refused = over(Some(600), 700).unwrap();
        assert_eq!(refused.reason, "ResultNotStored");
        assert!(refused.message.ends_with("600 s: no such bucket"));
        assert!(over(None, 3600).is_some() && over(Some(1), 3600).is_some());
        // A job that must not wait for a runner still gets its result.
        spec.queue_deadline_seconds = 1;
        let total = KeepFor::of(seconds(600), &spec).total;
        assert_eq!(total, seconds(600));
    }

    proptest! {
        #[test]
        fn every_chain_of_bad_outcomes_ends(
            limit in 0u32..=10, initial in 1u32..=86_400, extra in 0u32..=86_400,
            ends in prop::collection::vec((any::<bool>(), any::<bool>()), 64),
        ) {
            let retry = Retry { limit, initial_delay_seconds: initial, max_delay_seconds: initial + extra };
            let mut now = status(0, 0);
            let mut ended = false;
            for (lost, blame) in ends {
                let outcome = if lost { Outcome::Lost(String::new()) } else { problem(Reason::OutOfMemory) };
                match next(outcome, &now, &retry, blame, 0.5) {
                    Next::Retry(NextAttempt { delay, attempts, interruptions, .. }) => {
                        prop_assert!(attempts + interruptions > now.attempts + now.interruptions);
                        prop_assert!(attempts <= limit && interruptions < MAX_INTERRUPTIONS);
                        let most = Duration::from_secs(u64::from(initial + extra).max(30));
                        prop_assert!(delay <= most.mul_f64(1.1));
                        now.attempts = attempts;
                        now.interruptions = interruptions;
                    }
                    Next::Fail(_) => { ended = true; break; }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert!(ended);
        }
    }
}
