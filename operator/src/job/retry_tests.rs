use super::*;
use crate::fixtures::at;
use fovea_crds::labels;
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
