#[path = "decide_tests/held.rs"]
mod held;

use super::*;
use crate::fixtures::{self, at, pool};
use crate::job::{Tracked, status};
use fovea_crds::{Callback, Phase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

const NONE_HELD: RestoreConfig = RestoreConfig {
    hold_jobs_created_before: None,
};

fn placed() -> Placement {
    Placement {
        pool: pool(),
        model: "blip".into(),
    }
}

fn job() -> InferenceJob {
    let mut job = fixtures::job();
    job.metadata.creation_timestamp = Some(Time(at(0)));
    job.metadata.generation = Some(1);
    job
}

fn with(job: &InferenceJob, status: InferenceJobStatus) -> InferenceJob {
    InferenceJob {
        status: Some(status),
        ..job.clone()
    }
}

fn decide_with(
    job: &InferenceJob,
    seconds: i64,
    in_flight: bool,
    placement: &Result<Placement, Refusal>,
) -> Action {
    let now = at(seconds);
    decide(Observed {
        job,
        now,
        in_flight,
        placement,
        full: None,
        excess: None,
        restore: NONE_HELD,
    })
}

fn decide_at(job: &InferenceJob, seconds: i64) -> Action {
    decide_with(job, seconds, false, &Ok(placed()))
}

#[test]
fn a_new_job_is_queued_without_a_write() {
    let Action::Queue {
        placement,
        wake_at,
        note: None,
    } = decide_at(&job(), 0)
    else {
        panic!()
    };
    assert_eq!((placement.model.as_str(), wake_at), ("blip", at(1)));
}

#[test]
fn a_job_of_a_full_namespace_says_so_after_a_second_until_there_is_room() {
    let decide_in = |job: &InferenceJob, is_full: bool| {
        let action = decide(Observed {
            job,
            now: at(1),
            in_flight: false,
            placement: &Ok(placed()),
            full: is_full.then_some("full"),
            excess: None,
            restore: NONE_HELD,
        });
        let Action::Queue { note, .. } = action else {
            panic!("{action:?}")
        };
        note
    };
    let held = decide_in(&job(), true).unwrap();
    assert!(matches!(
        held,
        Note::Held {
            reason: TOO_MANY_FINISHED_JOBS,
            ..
        }
    ));
    let written = with(&job(), status::noted(&job(), &held, at(1)));
    assert_eq!(decide_in(&written, true), None);
    let accepted = Note::Accepted(pool());
    assert_eq!(decide_in(&written, false).as_ref(), Some(&accepted));
    let written = with(&job(), status::noted(&job(), &accepted, at(1)));
    assert_eq!(decide_in(&written, true), Some(held));
}

#[test]
fn a_job_beyond_its_namespace_s_quota_says_so_once_and_is_not_queued() {
    let decide_at = |job: &InferenceJob, seconds: i64| {
        decide(Observed {
            job,
            now: at(seconds),
            in_flight: false,
            placement: &Ok(placed()),
            full: None,
            excess: Some("11 of 10"),
            restore: NONE_HELD,
        })
    };
    let Action::Hold {
        note: Some(held), ..
    } = decide_at(&job(), 0)
    else {
        panic!()
    };
    let written = with(&job(), status::noted(&job(), &held, at(0)));
    let accepted = conditions::get(&written.status.as_ref().unwrap().conditions, ACCEPTED);
    let accepted = accepted.map(|it| (&*it.status, &*it.reason, &*it.message));
    assert_eq!(accepted, Some(("False", "QuotaExceeded", "11 of 10")));
    let waits = Action::Hold {
        wake_at: at(86_400),
        note: None,
    };
    assert_eq!(decide_at(&written, 9), waits);
    let Action::End(Ending::Failed(failure)) = decide_at(&written, 86_400) else {
        panic!()
    };
    assert_eq!(failure.reason, "QueueDeadlineExceeded");
    assert!(failure.message.contains("unfinished jobs"), "{failure:?}");
    let mut suspended = job();
    suspended.spec.suspend = true;
    assert_eq!(
        decide_at(&suspended, 0),
        Action::Write(Note::Suspended(Suspension::Spec))
    );
}

#[test]
fn a_job_that_has_waited_a_second_gets_its_accepted_condition_once() {
    let Action::Queue { note, .. } = decide_at(&job(), 1) else {
        panic!()
    };
    assert_eq!(note, Some(Note::Accepted(pool())));
    let accepted = status::noted(&job(), &Note::Accepted(pool()), at(1));
    let written = with(&job(), accepted);
    let after = decide_at(&written, 2);
    assert!(
        matches!(after, Action::Queue { note: None, wake_at, .. } if wake_at == at(86_400)),
        "{after:?}"
    );
}

#[test]
fn a_job_of_another_manager_is_not_touched() {
    let mut foreign = job();
    foreign.spec.managed_by = Some("kueue.x-k8s.io/multikueue".into());
    foreign.spec.cancel = true;
    assert_eq!(decide_at(&foreign, 0), Action::Leave);
    foreign.spec.managed_by = Some(MANAGER.into());
    assert_eq!(decide_at(&foreign, 0), Action::End(Ending::Cancelled));
}

#[test]
fn a_cancelled_job_ends_queued_or_in_flight_suspended_or_not() {
    for (suspend, in_flight) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut cancelled = job();
        cancelled.spec.cancel = true;
        cancelled.spec.suspend = suspend;
        let action = decide_with(&cancelled, 0, in_flight, &Ok(placed()));
        assert_eq!(action, Action::End(Ending::Cancelled));
    }
}

#[test]
fn a_finished_job_is_not_touched_whatever_its_spec_says() {
    for phase in [Phase::Succeeded, Phase::Failed, Phase::Cancelled] {
        let mut finished = with(
            &job(),
            InferenceJobStatus {
                phase,
                ..Default::default()
            },
        );
        finished.spec.cancel = true;
        assert_eq!(decide_at(&finished, 1_000_000), Action::Leave);
    }
}

/// Tools wait until the status names the generation, and is not of a version without Reconciling.
#[test]
fn what_a_waiting_job_s_status_says_is_written_again_after_an_edit() {
    let hold = Err(Refusal::Hold {
        reason: "PoolNotFound",
        message: "there is none".into(),
    });
    let mut suspended = job();
    suspended.spec.suspend = true;
    let accepts = Ok(placed());
    for (subject, placement) in [(job(), &accepts), (job(), &hold), (suspended, &accepts)] {
        let note = |job: &InferenceJob| match decide_with(job, 2, false, placement) {
            Action::Queue { note, .. } => note,
            Action::Write(note) => Some(note),
            _ => None,
        };
        let first = note(&subject).unwrap();
        assert!(!first.may_wait(&subject));
        let written = with(&subject, status::noted(&subject, &first, at(2)));
        assert_eq!(note(&written), None);
        let mut edited = written.clone();
        edited.metadata.generation = Some(2);
        assert_eq!(note(&edited).as_ref(), Some(&first));
        let is_accepted = matches!(first, Note::Accepted(_));
        assert_eq!(first.may_wait(&edited), !is_accepted);
        let again = with(&edited, status::noted(&edited, &first, at(3)));
        assert_eq!(note(&again), None);
        let mut old = written.clone();
        let status = old.status.as_mut().unwrap();
        conditions::remove(&mut status.conditions, conditions::RECONCILING);
        assert_eq!(note(&old), Some(first));
    }
}

#[test]
fn a_retry_waits_for_its_time() {
    let status = InferenceJobStatus {
        attempts: 1,
        next_attempt_time: Some(Time(at(60))),
        ..Default::default()
    };
    let waiting = with(&job(), status);
    assert_eq!(decide_at(&waiting, 59), Action::WakeAt(at(60)));
    assert!(matches!(decide_at(&waiting, 60), Action::Queue { .. }));
}

#[test]
fn a_retry_time_beyond_the_longest_wait_is_ignored() {
    let waiting = |until| {
        let status = InferenceJobStatus {
            next_attempt_time: Some(Time(at(until))),
            ..InferenceJobStatus::default()
        };
        decide_at(&with(&job(), status), 0)
    };
    assert_eq!(waiting(660), Action::WakeAt(at(660)));
    assert!(matches!(waiting(7200), Action::Queue { .. }));
}

#[test]
fn the_active_deadline_ends_a_job_also_in_flight() {
    let mut started = with(
        &job(),
        InferenceJobStatus {
            start_time: Some(Time(at(5))),
            ..Default::default()
        },
    );
    started.spec.active_deadline_seconds = Some(30);
    let in_flight = |seconds| decide_with(&started, seconds, true, &Ok(placed()));
    assert_eq!(in_flight(34), Action::WakeAt(at(35)));
    assert!(
        matches!(in_flight(35), Action::End(Ending::Failed(f)) if f.reason == "ActiveDeadlineExceeded")
    );
}

#[test]
fn a_held_job_s_condition_is_written_once_for_each_reason() {
    let hold = |message: &str| {
        Err(Refusal::Hold {
            reason: "PoolNotFound",
            message: message.into(),
        })
    };
    let decided = |job: &InferenceJob, message| decide_with(job, 2, false, &hold(message));
    let Action::Write(note) = decided(&job(), "there is none") else {
        panic!()
    };
    let written = with(&job(), status::noted(&job(), &note, at(2)));
    let again = decided(&written, "there is none");
    assert_eq!(again, Action::WakeAt(at(86_400)));
    let other = decided(&written, "there is another");
    assert!(matches!(other, Action::Write(Note::Held { .. })));
}

#[test]
fn a_model_that_the_pool_does_not_serve_ends_the_job() {
    let failure = Failure {
        reason: "UnknownModel".into(),
        message: "m".into(),
        retryable: false,
    };
    let never = Err(Refusal::Never(failure.clone()));
    let end = decide_with(&job(), 0, false, &never);
    assert_eq!(end, Action::End(Ending::Failed(failure)));
}

#[test]
fn a_finished_job_is_kept_until_its_callback_is_delivered_or_given_up() {
    let mut written = job();
    written.spec.ttl_seconds_after_finished = Some(60);
    written.spec.callback = Some(Callback {
        url: "https://hooks.example.com/a?key=b".into(),
    });
    let mut status = InferenceJobStatus {
        phase: Phase::Succeeded,
        completion_time: Some(Time(at(5))),
        ..Default::default()
    };
    let finished = |status: &InferenceJobStatus| {
        let Tracked::Finished(finished) = Tracked::of(with(&written, status.clone())) else {
            panic!()
        };
        finished
    };
    let undelivered = finished(&status);
    let outgoing = undelivered.callback.as_deref().unwrap();
    assert_eq!(
        (outgoing.due, &*outgoing.receiver),
        (Timestamp::UNIX_EPOCH, "hooks.example.com:443")
    );
    assert_eq!(undelivered.expires(), None);

    let record = status.callback.get_or_insert_default();
    (record.attempts, record.next_attempt_time) = (1, Some(Time(at(70))));
    let waits = finished(&status);
    assert_eq!(waits.callback.as_deref().unwrap().due, at(70));
    assert_eq!(waits.expires(), None);

    status.callback.get_or_insert_default().delivered = true;
    let over = finished(&status);
    assert_eq!((over.expires(), over.callback), (Some(at(65)), None));
}

proptest! {
    /// In every state a job waits for a change of its object, or is reconciled again within its deadlines.
    #[test]
    fn no_unfinished_job_waits_for_ever(
        attempts in 0u32..4, suspend: bool, cancel: bool, in_flight: bool,
        next in prop::option::of(0i64..100_000), start in prop::option::of(0i64..100_000),
        active in prop::option::of(1u32..100_000), queue in 1u32..100_000, now in 0i64..400_000,
    ) {
        let mut subject = with(&job(), InferenceJobStatus {
            attempts,
            next_attempt_time: next.map(|seconds| Time(at(seconds))),
            start_time: start.map(|seconds| Time(at(seconds))),
            ..Default::default()
        });
        subject.spec.suspend = suspend;
        subject.spec.cancel = cancel;
        subject.spec.active_deadline_seconds = active;
        subject.spec.queue_deadline_seconds = queue;
        match decide_with(&subject, now, in_flight, &Ok(placed())) {
            Action::Hold { .. } => prop_assert!(false, "there is room"),
            Action::Leave => prop_assert!(in_flight),
            Action::WakeAt(when) => prop_assert!(when > at(now) && when <= at(300_000)),
            Action::Queue { wake_at, .. } => prop_assert!(wake_at > at(now) && wake_at <= at(300_000)),
            Action::Write(note) => prop_assert!(suspend && note == Note::Suspended(Suspension::Spec)),
            Action::End(Ending::Cancelled) => prop_assert!(cancel),
            Action::End(Ending::Failed(_)) => prop_assert!(!cancel),
        }
    }
}
