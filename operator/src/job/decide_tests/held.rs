//! Jobs that are suspended, or were restored.

use super::*;

#[test]
fn a_suspended_job_has_the_condition_and_its_suspended_time_does_not_count() {
    let mut held = job();
    held.spec.suspend = true;
    assert_eq!(
        decide_at(&held, 10),
        Action::Write(Note::Suspended(Suspension::Spec))
    );
    held = with(
        &held,
        status::noted(&held, &Note::Suspended(Suspension::Spec), at(10)),
    );
    assert_eq!(decide_at(&held, 1_000_000), Action::Leave);

    held.spec.suspend = false;
    assert_eq!(decide_at(&held, 1_000_000), Action::Write(Note::Resumed));
    held = with(&held, status::noted(&held, &Note::Resumed, at(1_000_000)));
    assert!(matches!(
        decide_at(&held, 1_000_000 + 86_399),
        Action::Queue { .. }
    ));
    let late = decide_at(&held, 1_000_000 + 86_400);
    assert!(
        matches!(&late, Action::End(Ending::Failed(f)) if f.reason == "QueueDeadlineExceeded"),
        "{late:?}"
    );
}

#[test]
fn a_restored_job_is_left_alone_for_a_moment_and_then_held_like_a_suspended_one_until_it_is_released()
 {
    let restored = |value: &str| {
        let mut job = job();
        job.metadata.annotations = Some([("fovea.dev/restored".into(), value.into())].into());
        job
    };
    let held = restored("hold");
    assert_eq!(decide_at(&held, 4), Action::WakeAt(at(5)));
    let suspended_so = Note::Suspended(Suspension::Annotation);
    assert_eq!(decide_at(&held, 5), Action::Write(suspended_so.clone()));
    // With the status of a job that ran when it was saved.
    let began = InferenceJobStatus {
        phase: Phase::Running,
        start_time: Some(Time(at(-100))),
        ..Default::default()
    };
    let running = with(&held, began);
    assert_eq!(decide_at(&running, 1), Action::Write(suspended_so.clone()));
    let mut late = running.clone();
    late.spec.active_deadline_seconds = Some(30);
    assert_eq!(decide_at(&late, 1), Action::Write(suspended_so.clone()));
    let ends = decide_with(&late, 1, true, &Ok(placed()));
    assert!(matches!(ends, Action::End(Ending::Failed(_))), "{ends:?}");
    let written = with(&running, status::noted(&running, &suspended_so, at(1)));
    assert_eq!(written.phase(), Phase::Pending);
    assert_eq!(written.status.as_ref().unwrap().start_time, None);
    assert_eq!(decide_at(&written, 1_000_000), Action::Leave);
    let in_flight = decide_with(&held, 1, true, &Ok(placed()));
    assert_eq!(in_flight, Action::Leave);
    let mut suspended = written.clone();
    suspended.spec.suspend = true;
    let by_spec = Action::Write(Note::Suspended(Suspension::Spec));
    assert_eq!(decide_at(&suspended, 2), by_spec);
    let released = with(&restored("run"), written.status.unwrap());
    assert_eq!(decide_at(&released, 2), Action::Write(Note::Resumed));
    let resumed = with(&released, status::noted(&released, &Note::Resumed, at(2)));
    assert!(matches!(decide_at(&resumed, 2), Action::Queue { .. }));
}

#[test]
fn the_message_of_a_held_job_follows_what_holds_it() {
    let mut velero = job();
    velero.metadata.labels = Some([("velero.io/restore-name".into(), "a".into())].into());
    let note = Note::Suspended(Suspension::Velero);
    assert!(note.may_wait(&velero));
    let written = with(&velero, status::noted(&velero, &note, at(9)));
    assert_eq!(decide_at(&written, 9), Action::Leave);
    let mut annotated = written;
    annotated.metadata.annotations = Some([("fovea.dev/restored".into(), "hold".into())].into());
    let by_annotation = Action::Write(Note::Suspended(Suspension::Annotation));
    assert_eq!(decide_at(&annotated, 9), by_annotation);
}
