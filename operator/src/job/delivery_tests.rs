use super::*;
use crate::fixtures::{self, at};
use fovea_crds::{Callback, InferenceJobStatus, Phase};
use proptest::prelude::*;

const POLICY: Policy = Policy {
    first_delay: Duration::from_secs(5),
    greatest_delay: Duration::from_hours(4),
    window: SignedDuration::from_hours(20),
};

fn hours(hours: i64) -> i64 {
    hours * 3600
}

/// A job that ended at 0.
fn job(record: Option<CallbackStatus>) -> InferenceJob {
    let mut job = fixtures::job();
    job.spec.callback = Some(Callback {
        url: "https://hooks.example.com/".into(),
    });
    job.status = Some(InferenceJobStatus {
        phase: Phase::Succeeded,
        completion_time: Some(Time(at(0))),
        callback: record,
        ..Default::default()
    });
    job
}

fn failed() -> Outcome {
    Outcome::failed("HTTP 500")
}

fn failed_with_retry_after(seconds: u64) -> Outcome {
    Outcome::Failed {
        detail: "HTTP 503".into(),
        retry_after: Some(Duration::from_secs(seconds)),
    }
}

fn tried(attempts: u32, next: Option<i64>) -> CallbackStatus {
    CallbackStatus {
        delivered: false,
        attempts,
        next_attempt_time: next.map(|seconds| Time(at(seconds))),
        last_error: Some("HTTP 500".into()),
    }
}

fn next_at(status: &CallbackStatus) -> Option<Timestamp> {
    status.next_attempt_time.as_ref().map(|time| time.0)
}

#[test]
fn a_callback_is_due_as_soon_as_its_job_ends() {
    assert_eq!(next(&job(None), &POLICY, at(0)), Next::Try);
    // Also where the clock has been set back since the end.
    assert_eq!(next(&job(None), &POLICY, at(hours(-1))), Next::Try);
}

#[test]
fn no_callback_is_due_for_a_job_that_runs_or_has_none_or_another_manager() {
    let mut runs = job(None);
    runs.status.as_mut().unwrap().phase = Phase::Running;
    let mut plain = job(None);
    plain.spec.callback = None;
    let mut foreign = job(None);
    foreign.spec.managed_by = Some("kueue.x-k8s.io/multikueue".into());
    for quiet in [runs, plain, foreign] {
        assert_eq!(due(&quiet), None);
        assert_eq!(next(&quiet, &POLICY, at(0)), Next::Nothing);
    }
    let mut own = job(None);
    own.spec.managed_by = Some(MANAGER.into());
    assert_eq!(next(&own, &POLICY, at(0)), Next::Try);
}

#[test]
fn a_delivered_or_given_up_callback_is_not_sent_again() {
    let delivered = after(&job(None), Outcome::Delivered, &POLICY, at(1), 0.5);
    assert!(delivered.delivered && delivered.next_attempt_time.is_none());
    let gone = after(&job(None), Outcome::Gone, &POLICY, at(1), 0.5);
    assert!(!gone.delivered && gone.last_error.as_ref().unwrap().contains("410"));
    let late = after(&job(None), failed(), &POLICY, at(hours(20)), 0.5);
    assert!(late.last_error.as_ref().unwrap().starts_with("given up"));
    assert_eq!(
        (outcome(&delivered), outcome(&gone), outcome(&late)),
        ("delivered", "given-up", "given-up")
    );
    assert_eq!(outcome(&tried(1, Some(9))), "failed");
    for end in [delivered, gone, late, given_up(&job(None))] {
        assert_eq!(next(&job(Some(end.clone())), &POLICY, at(2)), Next::Nothing);
        assert_eq!(end.attempts, 1);
    }
}

#[test]
fn the_delays_grow_fourfold_to_four_hours() {
    let expected = [5, 20, 80, 320, 1280, 5120, 14_400, 14_400];
    for (before, seconds) in (0..).zip(expected) {
        let record = after(
            &job(Some(tried(before, None))),
            failed(),
            &POLICY,
            at(0),
            0.5,
        );
        assert_eq!(
            (record.attempts, next_at(&record)),
            (before + 1, Some(at(seconds)))
        );
    }
}

#[test]
fn a_delivery_keeps_the_last_error_of_the_tries_before_it() {
    let record = after(
        &job(Some(tried(2, Some(0)))),
        Outcome::Delivered,
        &POLICY,
        at(1),
        0.0,
    );
    assert_eq!(
        (record.attempts, record.last_error.as_deref()),
        (3, Some("HTTP 500"))
    );
}

#[test]
fn retry_after_delays_the_next_try_up_to_a_bound() {
    let wait = |seconds| {
        next_at(&after(
            &job(None),
            failed_with_retry_after(seconds),
            &POLICY,
            at(0),
            0.5,
        ))
    };
    assert_eq!(wait(1), Some(at(5)), "never sooner than the schedule");
    assert_eq!(wait(600), Some(at(600)));
    assert_eq!(wait(u64::MAX), Some(at(hours(6))));
}

#[test]
fn the_last_try_is_at_the_end_of_the_window_and_no_later() {
    let record = after(
        &job(Some(tried(9, None))),
        failed(),
        &POLICY,
        at(hours(19)),
        0.5,
    );
    assert_eq!(next_at(&record), Some(at(hours(20))));
    let record = job(Some(record));
    assert_eq!(
        next(&record, &POLICY, at(hours(19))),
        Next::WaitUntil(at(hours(20)))
    );
    assert_eq!(next(&record, &POLICY, at(hours(20))), Next::Try);
    let end = after(&record, failed(), &POLICY, at(hours(20)), 0.5);
    assert_eq!(next_at(&end), None);
}

#[test]
fn an_operator_that_was_down_tries_late_once_and_after_two_days_not_at_all() {
    assert_eq!(next(&job(None), &POLICY, at(hours(30))), Next::Try);
    let end = after(&job(None), failed(), &POLICY, at(hours(30)), 0.5);
    assert_eq!(next(&job(Some(end)), &POLICY, at(hours(30))), Next::Nothing);
    assert_eq!(next(&job(None), &POLICY, at(hours(40))), Next::GiveUp);
    assert_eq!(
        next(&job(Some(tried(3, Some(9)))), &POLICY, at(hours(40))),
        Next::GiveUp
    );
}

#[test]
fn a_try_set_for_later_than_any_wait_is_due() {
    let waiting = job(Some(tried(1, Some(hours(6)))));
    let due = at(hours(6));
    assert_eq!(next(&waiting, &POLICY, at(0)), Next::WaitUntil(due));
    assert_eq!(next(&waiting, &POLICY, at(hours(-6))), Next::WaitUntil(due));
    assert_eq!(next(&waiting, &POLICY, at(hours(-7))), Next::Try);
}

#[test]
fn a_record_that_a_lost_answer_had_written_is_not_written_again() {
    let delivered = CallbackStatus {
        delivered: true,
        ..tried(2, None)
    };
    assert!(supersedes(&delivered, &tried(2, Some(9))));
    assert!(supersedes(&tried(2, Some(9)), &tried(2, Some(8))));
    assert!(!supersedes(&tried(1, Some(9)), &tried(2, Some(8))));
    assert!(!supersedes(&tried(2, Some(9)), &delivered));
}

proptest! {
    /// Whatever a receiver answers and however late the operator is, a callback ends, within twice
    /// the window, and every delay keeps to its bounds.
    #[test]
    fn every_callback_ends(
        first in 1u64..100_000, extra in 0u64..100_000_000, window in 1i64..1_000_000,
        tries in prop::collection::vec((0.0f64..1.0, prop::option::of(0u64..1_000_000), 0i64..50), 400),
    ) {
        let policy = Policy {
            first_delay: Duration::from_millis(first),
            greatest_delay: Duration::from_millis(first + extra),
            window: SignedDuration::from_secs(window),
        };
        let mut job = job(None);
        let mut now = at(0);
        for (jitter, retry_after, late) in tries {
            match next(&job, &policy, now) {
                Next::Nothing => return Ok(()),
                Next::GiveUp => {
                    prop_assert!(now >= at(2 * window));
                    job.status.as_mut().unwrap().callback = Some(given_up(&job));
                }
                Next::WaitUntil(when) => {
                    prop_assert!(when > now && when <= at(window));
                    // Woken, perhaps late.
                    now = when + SignedDuration::from_secs(late);
                }
                Next::Try => {
                    let before = record(&job).attempts;
                    let outcome = Outcome::Failed { detail: "x".into(), retry_after: retry_after.map(Duration::from_secs) };
                    let after = after(&job, outcome, &policy, now, jitter);
                    prop_assert_eq!(after.attempts, before + 1);
                    if let Some(next) = next_at(&after) {
                        prop_assert!(next > now && next <= at(window));
                        let delay = Duration::try_from(next.duration_since(now)).unwrap();
                        let most = policy.greatest_delay.mul_f64(1.2).max(GREATEST_RETRY_AFTER);
                        prop_assert!(delay <= most);
                        let least = Duration::from_millis(first).mul_f64(0.79);
                        prop_assert!(delay >= least || next == at(window));
                    } else {
                        prop_assert!(now >= at(window));
                    }
                    job.status.as_mut().unwrap().callback = Some(after);
                }
            }
        }
        // Very short delays in a long window take more tries than are made here.
        prop_assert!(policy.greatest_delay.as_secs_f64() * 300.0 < policy.window.as_secs_f64());
    }

    #[test]
    fn jitter_never_makes_a_longer_delay_of_an_earlier_try(jitter in 0.0f64..1.0, other in 0.0f64..1.0, attempts in 1u32..6) {
        let earlier = delay_after(attempts, &POLICY, jitter);
        prop_assert!(earlier < delay_after(attempts + 1, &POLICY, other));
    }
}
