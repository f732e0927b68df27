//! What follows an attempt's end. Pure: no clock, no client; durations are answered, not slept.

use fovea_crds::{Failure, InferenceJobStatus, JobResult, Retry, ServedModel};
use fovea_protocol::{Problem, Reason, Timings};
use std::time::Duration;

/// Waits after the first, the second and every further lost runner.
const INTERRUPTION_DELAYS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// The longest of them.
pub(super) const LONGEST_INTERRUPTION: Duration =
    INTERRUPTION_DELAYS[INTERRUPTION_DELAYS.len() - 1];

/// A job that has lost so many runners fails.
pub const MAX_INTERRUPTIONS: u32 = 10;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The runner answered a result.
    Succeeded {
        /// The result.
        result: JobResult,
        /// Which model gave it.
        model: ServedModel,
        /// Where the time went.
        timings: Timings,
    },
    /// The runner answered that it gave none.
    Problem(Problem),
    /// The runner fell silent, or its connection broke.
    Lost {
        /// What was seen.
        detail: String,
    },
    /// The runner never began: it had no free slot, was not ready, or could not be reached.
    NotBegun {
        /// What was seen.
        detail: String,
    },
}

impl From<Problem> for Outcome {
    /// A runner whose device has failed can say so with its last breath: it is lost all the same.
    fn from(problem: Problem) -> Self {
        match problem.reason {
            Reason::DeviceLost => Self::Lost {
                detail: problem.detail,
            },
            _ => Self::Problem(problem),
        }
    }
}

/// What the job's record becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// The job ends with a result.
    Succeed {
        /// The result.
        result: JobResult,
        /// Which model gave it.
        model: ServedModel,
        /// Where the time went.
        timings: Timings,
    },
    /// The job ends without one.
    Fail(Failure),
    /// The job waits, and is tried again.
    Retry {
        /// From now.
        delay: Duration,
        /// Attempts that count, this one included where it does.
        attempts: u32,
        /// Lost runners, this one included.
        interruptions: u32,
        /// Whether the job runs alone from now on.
        exclusive: bool,
        /// Why, for the job's condition.
        failure: Failure,
    },
    /// Nothing happened: back into the queue at no cost.
    Requeue,
}

/// Decides. `alone_on_a_proven_runner`: the lost runner ran this job alone and had served another
/// before, so that the job itself is the likely cause. `jitter` in 0..1 spreads retries over a
/// tenth of their delay.
pub fn next(
    outcome: Outcome,
    status: &InferenceJobStatus,
    retry: &Retry,
    alone_on_a_proven_runner: bool,
    jitter: f64,
) -> Next {
    match outcome {
        Outcome::Succeeded {
            result,
            model,
            timings,
        } => Next::Succeed {
            result,
            model,
            timings,
        },
        Outcome::NotBegun { .. } => Next::Requeue,
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
                counted(failure, status, retry, jitter)
            }
        },
        Outcome::Lost { detail } => lost(&detail, status, retry, alone_on_a_proven_runner, jitter),
    }
}

/// Whether a runner that says so has not begun, so that the attempt costs the job nothing.
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

fn counted(failure: Failure, status: &InferenceJobStatus, retry: &Retry, jitter: f64) -> Next {
    let attempts = status.attempts.saturating_add(1);
    if !failure.retryable || attempts > retry.limit {
        return Next::Fail(failure);
    }
    Next::Retry {
        delay: delay_after(attempts, retry).mul_f64(1.0 + 0.1 * jitter.clamp(0.0, 1.0)),
        attempts,
        interruptions: status.interruptions,
        exclusive: status.exclusive,
        failure,
    }
}

fn lost(
    detail: &str,
    status: &InferenceJobStatus,
    retry: &Retry,
    blame_the_job: bool,
    jitter: f64,
) -> Next {
    let interruptions = status.interruptions.saturating_add(1);
    let failure = Failure {
        reason: "RunnerLost".to_owned(),
        message: format!("the runner was lost during the attempt ({detail})"),
        retryable: true,
    };
    if interruptions >= MAX_INTERRUPTIONS {
        return Next::Fail(Failure {
            message: format!(
                "{interruptions} runners were lost while they ran this job; the last: {detail}"
            ),
            ..failure
        });
    }
    if blame_the_job {
        return match counted(failure, status, retry, jitter) {
            Next::Retry {
                delay,
                attempts,
                failure,
                ..
            } => Next::Retry {
                delay,
                attempts,
                interruptions,
                exclusive: true,
                failure,
            },
            ended => ended,
        };
    }
    let step = (interruptions as usize - 1).min(INTERRUPTION_DELAYS.len() - 1);
    Next::Retry {
        delay: INTERRUPTION_DELAYS[step],
        attempts: status.attempts,
        interruptions,
        exclusive: true,
        failure,
    }
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

    #[test]
    fn failed_attempts_are_retried_after_60_120_and_240_seconds_and_then_the_job_fails() {
        for (before, seconds) in [(0, 60), (1, 120), (2, 240)] {
            let next = next(
                problem(Reason::FetchFailed),
                &status(before, 0),
                &Retry::default(),
                false,
                0.0,
            );
            assert!(
                matches!(&next, Next::Retry { delay, attempts, exclusive: false, .. }
                    if *delay == Duration::from_secs(seconds) && *attempts == before + 1),
                "{next:?}"
            );
        }
        let last = next(
            problem(Reason::FetchFailed),
            &status(3, 0),
            &Retry::default(),
            false,
            0.0,
        );
        assert!(
            matches!(last, Next::Fail(failure) if failure.reason == "FetchFailed" && failure.retryable)
        );
    }

    #[test]
    fn a_runner_whose_device_failed_is_a_lost_one() {
        let outcome = Outcome::from(Problem::new(Reason::DeviceLost, "because"));
        assert!(matches!(&outcome, Outcome::Lost { detail } if detail == "because"));
        let other = Outcome::from(Problem::new(Reason::OutOfMemory, "because"));
        assert_eq!(other, problem(Reason::OutOfMemory));
    }

    #[test]
    fn a_picture_that_is_not_a_picture_is_never_tried_again() {
        let end = next(
            problem(Reason::InvalidPicture),
            &status(0, 0),
            &Retry::default(),
            false,
            0.0,
        );
        assert!(
            matches!(end, Next::Fail(failure) if !failure.retryable && failure.message == "because")
        );
    }

    #[test]
    fn a_runner_cannot_make_a_permanent_failure_retryable() {
        let mut lie = Problem::new(Reason::InvalidPicture, "");
        lie.retryable = true;
        let end = next(
            Outcome::Problem(lie),
            &status(0, 0),
            &Retry::default(),
            false,
            0.0,
        );
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
            assert_eq!(
                next(problem(reason), &status(3, 9), &Retry::default(), true, 0.0),
                Next::Requeue
            );
        }
    }

    #[test]
    fn a_lost_runner_is_an_interruption_after_which_the_job_runs_alone() {
        for (before, seconds) in [(0, 1), (1, 5), (2, 30), (8, 30)] {
            let lost = Outcome::Lost {
                detail: "eof".into(),
            };
            let next = next(lost, &status(0, before), &Retry::default(), false, 0.9);
            assert!(
                matches!(&next, Next::Retry { delay, attempts: 0, interruptions, exclusive: true, .. }
                    if *delay == Duration::from_secs(seconds) && *interruptions == before + 1),
                "{next:?}"
            );
        }
    }

    #[test]
    fn a_job_that_kills_proven_runners_alone_uses_up_its_attempts() {
        let lost = || Outcome::Lost {
            detail: "eof".into(),
        };
        let once = next(lost(), &status(0, 1), &Retry::default(), true, 0.0);
        assert!(matches!(
            once,
            Next::Retry {
                attempts: 1,
                interruptions: 2,
                exclusive: true,
                ..
            }
        ));
        let end = next(lost(), &status(3, 4), &Retry::default(), true, 0.0);
        assert!(matches!(end, Next::Fail(failure) if failure.reason == "RunnerLost"));
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
                let outcome = if lost { Outcome::Lost { detail: String::new() } } else { problem(Reason::OutOfMemory) };
                match next(outcome, &now, &retry, blame, 0.5) {
                    Next::Retry { delay, attempts, interruptions, .. } => {
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
