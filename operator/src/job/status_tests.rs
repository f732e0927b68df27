use super::super::suspension::Suspension;
use super::*;
use crate::fixtures::{self, at, pool};
use fovea_crds::{JobResult, ServedModel, Timings};
use std::time::Duration;

fn job(status: Option<InferenceJobStatus>) -> InferenceJob {
    let mut job = fixtures::job();
    job.metadata.generation = Some(3);
    job.status = status;
    job
}

fn begun() -> Begun {
    Begun {
        pool: pool(),
        runner: "http://127.0.0.1:9000/".into(),
        at: at(1),
    }
}

fn success(caption: &str) -> Success {
    Success {
        reused: false,
        answered: None,
        result: JobResult::Caption(caption.into()),
        model: ServedModel {
            name: "blip".into(),
            revision: "sha256:0".into(),
        },
        timings: Timings::default(),
        cost_micros: None,
    }
}

fn failure(reason: &str) -> Failure {
    Failure {
        reason: reason.into(),
        message: "why".into(),
        retryable: true,
    }
}

fn conditions(status: &InferenceJobStatus) -> Vec<(&str, &str, &str)> {
    let conditions = status.conditions.iter();
    conditions
        .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()))
        .collect()
}

#[test]
fn a_fast_success_needs_one_write() {
    let status = succeeded(&job(None), &begun(), success("a red circle"), None, at(2));
    assert_eq!(status.phase, Phase::Succeeded);
    assert_eq!(conditions(&status), [("Complete", "True", "Succeeded")]);
    assert_eq!((status.attempts, status.observed_generation), (1, Some(3)));
    assert_eq!(
        (status.start_time, status.completion_time),
        (Some(Time(at(1))), Some(Time(at(2))))
    );
    assert_eq!(status.summary.as_deref(), Some("a red circle"));
}

#[test]
fn a_result_that_is_not_stored_leaves_the_job_running_and_says_why() {
    let status = unstored(&job(None), &begun(), "no such bucket", at(2));
    assert_eq!(status.phase, Phase::Running);
    let expected = [
        ("Accepted", "True", "PoolFound"),
        ("Reconciling", "True", "ResultNotStored"),
        ("Scheduled", "True", "ResultNotStored"),
    ];
    assert_eq!(conditions(&status), expected);
    // The next leader has lost the result and runs the job again.
    let again = job(Some(status));
    assert!(!is_running(&again));
    let running = running(&again, &begun(), Stage::Running, at(9));
    assert!(is_running(&job(Some(running))));
}

#[test]
fn a_retry_is_pending_again_and_keeps_its_first_start() {
    let first = running(&job(None), &begun(), Stage::Fetching, at(2));
    let retry = NextAttempt {
        delay: Duration::from_secs(11),
        attempts: 1,
        interruptions: 0,
        exclusive: false,
        failure: failure("FetchFailed"),
    };
    let status = waiting(
        &job(Some(first)),
        &Begun {
            at: at(50),
            ..begun()
        },
        &retry,
        at(51),
    );
    assert_eq!((status.phase, status.attempts), (Phase::Pending, 1));
    assert_eq!(status.start_time, Some(Time(at(1))));
    assert_eq!(status.next_attempt_time, Some(Time(at(62))));
    assert!(conditions(&status).contains(&("Scheduled", "False", "FetchFailed")));
}

/// A short attempt is not written: to a reader the job has waited all the time.
#[test]
fn a_condition_that_is_false_again_has_not_changed_in_between() {
    let accepted = noted(&job(None), &Note::Accepted(pool()), at(0));
    let retry = NextAttempt {
        delay: Duration::from_secs(11),
        attempts: 1,
        interruptions: 0,
        exclusive: false,
        failure: failure("FetchFailed"),
    };
    let status = waiting(&job(Some(accepted)), &begun(), &retry, at(9));
    let scheduled = fovea_crds::conditions::get(&status.conditions, SCHEDULED);
    assert_eq!(scheduled.unwrap().last_transition_time, Time(at(0)));
}

#[test]
fn a_running_job_says_what_its_runner_was_doing() {
    let message = |stage| {
        let status = running(&job(None), &begun(), stage, at(2));
        let scheduled = fovea_crds::conditions::get(&status.conditions, SCHEDULED);
        scheduled.map(|condition| condition.message.clone())
    };
    let runner = begun().runner;
    for (stage, doing) in [
        (Stage::Fetching, "was downloading the picture"),
        (Stage::Queued, "was waiting for the model"),
        (Stage::Running, "was running the model"),
        (Stage::Unknown, "had the job"),
    ] {
        let expected = format!("after a second the runner {runner} {doing}");
        assert_eq!(message(stage), Some(expected));
    }
}

#[test]
fn a_transition_time_moves_only_with_its_status() {
    let first = running(&job(None), &begun(), Stage::Fetching, at(2));
    let again = running(
        &job(Some(first)),
        &Begun {
            at: at(70),
            ..begun()
        },
        Stage::Running,
        at(71),
    );
    let mut conditions = again.conditions.iter();
    assert!(conditions.all(|each| each.last_transition_time == Time(at(2))));
}

#[test]
fn a_failed_job_is_stalled_for_the_reason_of_its_failure() {
    let status = ended(
        &job(None),
        None,
        &Ending::Failed(failure("UnknownModel")),
        at(2),
    );
    assert_eq!(
        conditions(&status),
        [
            ("Failed", "True", "UnknownModel"),
            ("Stalled", "True", "UnknownModel")
        ]
    );
    assert_eq!((status.phase, status.attempts), (Phase::Failed, 0));
}

#[test]
fn a_cancelled_job_has_neither_result_nor_failure() {
    let status = ended(&job(None), Some(&begun()), &Ending::Cancelled, at(2));
    assert_eq!((status.phase, status.attempts), (Phase::Cancelled, 0));
    assert!(status.result.is_none() && status.failure.is_none());
    assert_eq!(conditions(&status), [("Failed", "True", "Cancelled")]);
}

/// kstatus takes an unfinished job without Reconciling for one that is as it should be.
#[test]
fn an_unfinished_job_is_reconciling_and_says_what_it_waits_for() {
    let held = Note::Held {
        reason: "PoolNotFound",
        message: "there is none".into(),
    };
    let mut job = job(None);
    for (note, reason) in [
        (held.clone(), "PoolNotFound"),
        (Note::Accepted(pool()), "Queued"),
        (held, "PoolNotFound"),
        (Note::Suspended(Suspension::Spec), "Suspended"),
        (Note::Resumed, "PoolNotFound"),
    ] {
        let status = noted(&job, &note, at(1));
        assert!(
            conditions(&status).contains(&("Reconciling", "True", reason)),
            "{note:?}: {status:?}"
        );
        job.status = Some(status);
    }
    let ended = ended(&job, None, &Ending::Failed(failure("Late")), at(2));
    assert_eq!(ended.conditions.len(), 2);
}

#[test]
fn whatever_a_runner_says_is_clipped() {
    let status = succeeded(
        &job(None),
        &begun(),
        success(&"ä".repeat(1_000_000)),
        None,
        at(2),
    );
    assert!(serde_json::to_vec(&status).unwrap().len() < 16 * 1024);
    let status = ended(
        &job(None),
        Some(&begun()),
        &Ending::Failed(Failure {
            message: "x".repeat(1_000_000),
            ..failure("no word at all")
        }),
        at(2),
    );
    assert!(serde_json::to_vec(&status).unwrap().len() < 16 * 1024);
    assert_eq!(status.failure.unwrap().reason, "Unknown");
}

#[test]
fn a_rejected_status_leaves_the_least_that_ends_the_job() {
    let status = rejected(&job(None), &"y".repeat(100_000), at(2));
    assert_eq!(status.phase, Phase::Failed);
    assert_eq!(status.failure.unwrap().reason, "ResultRejected");
    assert!(status.result.is_none());
}
