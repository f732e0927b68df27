use super::super::observe_fixtures::{observed, pool, up};
use super::*;
use crate::fixtures::at;
use crate::pool::load::RunnerLoad;
use crate::pool::message::Message;
use crate::pool::reconcile::verdict::stalls_at;
use serde_json::json;

/// Value and reason of a condition, and its message.
fn condition<'a>(status: &'a RunnerPoolStatus, kind: &str) -> (&'a str, &'a str, &'a str) {
    let mut conditions = status.conditions.iter();
    let found = conditions.find(|each| each.type_ == kind).unwrap();
    (&found.status, &found.reason, &found.message)
}

fn with_pods(desired: u32) -> Applied {
    Applied {
        pods: Some(PodCounts {
            selector: "s".into(),
            desired,
            replicas: desired,
        }),
        ..Applied::default()
    }
}

fn with_runner(observed: &mut Observed<'_>, endpoint: &str, runner: RunnerLoad) {
    let load = observed.load.as_mut().unwrap();
    load.runners.insert(endpoint.to_owned(), runner);
}

#[test]
fn a_pool_whose_runner_serves_every_model_is_ready() {
    let pool = pool(&json!({}));
    let mut observed = observed(&pool);
    with_runner(&mut observed, "a", up(None));
    let status = status(&observed, &with_pods(1)).unwrap();
    assert_eq!(
        condition(&status, READY),
        ("True", "RunnersReady", "1 of 1 runners serve every model")
    );
    assert_eq!(condition(&status, DEGRADED).0, "False");
    assert_eq!(condition(&status, PROGRESSING).1, "Stable");
    assert_eq!((status.replicas, status.ready_replicas), (1, 1));
    assert_eq!(status.selector.as_deref(), Some("s"));
    assert_eq!(status.models[0].revision.as_deref(), Some("r"));
    assert_eq!(status.observed_generation, Some(7));
}

#[test]
fn the_first_fault_is_the_reason_and_every_fault_is_in_the_message() {
    let pool = pool(&json!({}));
    let mut observed = observed(&pool);
    with_runner(&mut observed, "a", up(Some("disk full")));
    let applied = Applied {
        faults: vec![Message::new("QuotaExceeded", "no more pods")],
        ..with_pods(2)
    };
    let status = status(&observed, &applied).unwrap();
    assert_eq!(
        condition(&status, DEGRADED),
        (
            "True",
            "QuotaExceeded",
            "no more pods; a: model m: disk full"
        )
    );
    assert_eq!(
        condition(&status, READY),
        ("False", "ModelsNotReady", "no runner serves m")
    );
}

#[test]
fn a_store_s_clock_is_named_and_a_fault_only_where_it_cannot_be_corrected() {
    let pool = pool(&json!({}));
    let mut observed = observed(&pool);
    with_runner(&mut observed, "a", up(None));
    for (ahead_seconds, value, reason, part) in [
        (
            1200.0,
            "False",
            "RunnersAnswer",
            "every runner answers; the API server's clock is 20 minutes ahead",
        ),
        (
            -1200.0,
            "False",
            "RunnersAnswer",
            "20 minutes behind the object store's",
        ),
        (
            200_000.0,
            "True",
            "StoreClockSkew",
            "it refuses signed URLs",
        ),
    ] {
        observed.store_skew = ClockSkew::of(ahead_seconds);
        let status = status(&observed, &with_pods(1)).unwrap();
        let (found, why, message) = condition(&status, DEGRADED);
        assert_eq!((found, why), (value, reason), "{message}");
        assert!(message.contains(part), "{message}");
        assert_eq!(condition(&status, READY).0, "True");
    }
}

#[test]
fn a_runner_that_starts_is_a_fault_of_an_external_pool_and_not_of_a_pod() {
    let external = pool(&json!({"external": {"endpoints": ["https://a"]}}));
    let own = pool(&json!({}));
    let starting = || RunnerLoad {
        health: Health::Starting("refused".into()),
        running: 0,
    };
    let mut of_external = observed(&external);
    with_runner(&mut of_external, "https://a", starting());
    let status_of_external = status(&of_external, &Applied::default()).unwrap();
    assert_eq!(
        condition(&status_of_external, DEGRADED),
        ("True", "RunnersUnavailable", "https://a: refused")
    );
    assert_eq!(
        (status_of_external.replicas, status_of_external.selector),
        (1, None)
    );
    let mut of_pods = observed(&own);
    with_runner(&mut of_pods, "a", starting());
    let status_of_pods = status(&of_pods, &with_pods(1)).unwrap();
    assert_eq!(condition(&status_of_pods, DEGRADED).1, "RunnersAnswer");
}

#[test]
fn a_runner_that_refuses_the_leader_s_epoch_is_named_in_every_pool() {
    let refusing = || RunnerLoad {
        health: Health::Refusing("it follows epoch 7".into()),
        running: 0,
    };
    let external = pool(&json!({"external": {"endpoints": ["https://a"]}}));
    let own = pool(&json!({}));
    for (pool, applied) in [(&external, Applied::default()), (&own, with_pods(1))] {
        let mut observed = observed(pool);
        with_runner(&mut observed, "https://a", refusing());
        assert_eq!(
            condition(&status(&observed, &applied).unwrap(), DEGRADED),
            ("True", "StaleEpoch", "https://a: it follows epoch 7")
        );
    }
}

#[test]
fn an_earlier_leader_s_status_stands_until_the_dispatcher_has_connected() {
    let mut pool = pool(&json!({}));
    let mut fresh = observed(&pool);
    fresh.load = None;
    let first = status(&fresh, &with_pods(1)).unwrap();
    assert_eq!(condition(&first, READY).1, "NotProvided");
    pool.status = Some(first);
    let mut later = observed(&pool);
    later.load = None;
    assert_eq!(status(&later, &with_pods(1)), None);
    later.load = Some(Load::default());
    assert_eq!(status(&later, &with_pods(1)), None);
    later.load.as_mut().unwrap().connected = true;
    assert!(status(&later, &with_pods(1)).is_some());
    // Measured before the pool stopped being external: it says nothing of the pods.
    later.load.as_mut().unwrap().external = true;
    assert_eq!(status(&later, &with_pods(1)), None);
}

#[test]
fn a_pool_that_is_to_have_no_runners_is_ready() {
    let autoscaled = pool(&json!({"autoscaling": {"min": 0, "max": 2}}));
    let with_autoscaling = status(&observed(&autoscaled), &with_pods(0)).unwrap();
    assert_eq!(condition(&with_autoscaling, READY).1, "ScaledToZero");
    let fixed = pool(&json!({"replicas": 0}));
    let without = status(&observed(&fixed), &with_pods(0)).unwrap();
    assert_eq!(condition(&without, READY).0, "True");
    assert_eq!(condition(&without, READY).1, "NoReplicas");
}

#[test]
fn a_condition_keeps_its_transition_time_and_a_new_fault_is_an_event_once() {
    let mut pool = pool(&json!({}));
    let before = status(&observed(&pool), &with_pods(1)).unwrap();
    pool.status = Some(before.clone());
    let mut later = observed(&pool);
    later.now = at(60);
    let applied = Applied {
        faults: vec![Message::new("ApplyFailed", "no")],
        ..with_pods(1)
    };
    let after = status(&later, &applied).unwrap();
    let since = |type_: &str| {
        let condition = conditions::get(&after.conditions, type_);
        condition.unwrap().last_transition_time.0
    };
    assert_eq!((since(DEGRADED), since(READY)), (at(60), at(0)));
    assert_eq!(
        new_fault(Some(&before), &after).unwrap().reason,
        "ApplyFailed"
    );
    assert_eq!(new_fault(Some(&after), &after), None);
    assert_eq!(new_fault(None, &after), None);
}

/// Which of the two decides for kstatus, and its reason.
fn verdict_of(status: &RunnerPoolStatus) -> Option<(&str, &str)> {
    let decides = |each: &&Condition| [RECONCILING, STALLED].contains(&each.type_.as_str());
    let mut found = status.conditions.iter().filter(decides);
    let first = found.next().map(|each| (&*each.type_, &*each.reason));
    assert_eq!(found.next(), None, "{status:?}");
    first
}

fn faulty(reason: &'static str) -> Applied {
    Applied {
        faults: vec![Message::new(reason, "why")],
        ..with_pods(1)
    }
}

fn rolling(reason: &'static str) -> Applied {
    Applied {
        progressing: Some(Message::new(reason, "0 of 1")),
        ..with_pods(1)
    }
}

/// The pool's status at `seconds`, after the one before, which it takes over.
fn then(pool: &mut RunnerPool, applied: &Applied, serves: bool, seconds: i64) -> RunnerPoolStatus {
    let now = {
        let mut observed = observed(pool);
        observed.now = at(seconds);
        if serves {
            with_runner(&mut observed, "a", up(None));
        }
        status(&observed, applied).unwrap()
    };
    pool.status = Some(now.clone());
    now
}

#[test]
fn a_pool_with_a_fault_is_stalled_once_it_has_stood_for_its_time() {
    for (reason, time) in [("ImagePullBackOff", 120), ("Unschedulable", 600)] {
        let mut pool = pool(&json!({}));
        let first = then(&mut pool, &rolling("RunnersStarting"), false, 0);
        assert_eq!(verdict_of(&first), Some((RECONCILING, "RunnersStarting")));
        let early = then(&mut pool, &faulty(reason), false, 100);
        assert_eq!(verdict_of(&early), Some((RECONCILING, reason)));
        assert_eq!(stalls_at(&early.conditions), Some(at(100 + time)));
        let late = then(&mut pool, &faulty(reason), false, 100 + time);
        assert_eq!(verdict_of(&late), Some((STALLED, reason)));
        assert_eq!(stalls_at(&late.conditions), None);
        // It stays so for another fault, until there is none or the pool serves.
        let other = then(&mut pool, &faulty("OutOfMemory"), false, 101 + time);
        assert_eq!(verdict_of(&other), Some((STALLED, "OutOfMemory")));
        let served = then(&mut pool, &faulty("OutOfMemory"), true, 102 + time);
        assert_eq!(verdict_of(&served), None);
    }
}

#[test]
fn an_edit_of_a_stalled_pool_has_its_time_again() {
    let mut pool = pool(&json!({}));
    then(&mut pool, &faulty("CrashLoopBackOff"), false, 0);
    let stalled = then(&mut pool, &faulty("CrashLoopBackOff"), false, 120);
    assert_eq!(verdict_of(&stalled).unwrap().0, STALLED);
    pool.metadata.generation = Some(8);
    let edited = then(&mut pool, &faulty("CrashLoopBackOff"), false, 130);
    assert_eq!(verdict_of(&edited).unwrap().0, RECONCILING);
    assert_eq!(stalls_at(&edited.conditions), Some(at(250)));
}

#[test]
fn a_pool_whose_pods_wait_in_a_queue_is_in_progress_however_long_they_do() {
    let mut pool = pool(&json!({}));
    let queued = || {
        let mut applied = faulty("SchedulingGated");
        applied.progressing = Some(Message::new("RunnersStarting", "0 of 1"));
        applied
    };
    for seconds in [0, 100, 100_000] {
        let status = then(&mut pool, &queued(), false, seconds);
        assert_eq!(verdict_of(&status), Some((RECONCILING, "SchedulingGated")));
        assert_eq!(stalls_at(&status.conditions), None);
        let reconciling = conditions::get(&status.conditions, RECONCILING);
        assert_eq!(reconciling.unwrap().last_transition_time.0, at(0));
    }
    // The next fault has its own time.
    let admitted = then(&mut pool, &faulty("Unschedulable"), false, 100_010);
    assert_eq!(verdict_of(&admitted), Some((RECONCILING, "Unschedulable")));
    assert_eq!(stalls_at(&admitted.conditions), Some(at(100_610)));
    let late = then(&mut pool, &faulty("Unschedulable"), false, 100_610);
    assert_eq!(verdict_of(&late), Some((STALLED, "Unschedulable")));
    let again = then(&mut pool, &queued(), false, 100_620);
    assert_eq!(verdict_of(&again), Some((RECONCILING, "SchedulingGated")));
}

#[test]
fn a_pool_that_serves_nothing_for_no_known_reason_says_so_and_is_stalled_after_its_time() {
    let mut pool = pool(&json!({}));
    let nothing = with_pods(1);
    // Pods that took long to start have the same time afterwards.
    then(&mut pool, &rolling("RunnersStarting"), false, 0);
    let early = then(&mut pool, &nothing, false, 500);
    assert_eq!(verdict_of(&early), Some((RECONCILING, "ModelsNotReady")));
    assert_eq!(stalls_at(&early.conditions), Some(at(620)));
    let late = then(&mut pool, &nothing, false, 620);
    assert_eq!(verdict_of(&late), Some((STALLED, "ModelsNotReady")));
    let stalled = conditions::get(&late.conditions, STALLED).unwrap();
    assert_eq!(stalled.message, "no runner serves m");
    let starts = then(&mut pool, &rolling("RunnersStarting"), false, 630);
    assert_eq!(verdict_of(&starts), Some((RECONCILING, "RunnersStarting")));
    let serves = then(&mut pool, &nothing, true, 640);
    assert_eq!(verdict_of(&serves), None);
}

#[test]
fn a_refused_spec_is_stalled_at_once_also_while_runners_of_the_one_before_serve() {
    let mut pool = pool(&json!({}));
    let refused = then(&mut pool, &faulty("SpecRefused"), true, 0);
    assert_eq!(verdict_of(&refused), Some((STALLED, "SpecRefused")));
    assert_eq!(condition(&refused, READY).0, "True");
}

#[test]
fn a_pool_that_rolls_is_in_progress_although_its_runners_serve() {
    let mut fixed = pool(&json!({}));
    for reason in ["RollingOut", "RunnersStarting", "ImportingModel"] {
        let status = then(&mut fixed, &rolling(reason), true, 0);
        assert_eq!(verdict_of(&status), Some((RECONCILING, reason)));
        assert_eq!(condition(&status, READY).0, "True");
    }
    let mut autoscaled = pool(&json!({"autoscaling": {"min": 1, "max": 2}}));
    let scaling = then(&mut autoscaled, &rolling("RunnersStarting"), true, 0);
    assert_eq!(verdict_of(&scaling), None);
    let rolling = then(&mut autoscaled, &rolling("RollingOut"), true, 0);
    assert_eq!(verdict_of(&rolling), Some((RECONCILING, "RollingOut")));
}

#[test]
fn the_load_of_other_endpoints_says_nothing_of_an_edited_pool() {
    let mut pool = pool(&json!({"external": {"endpoints": ["https://a"]}}));
    let mut before = observed(&pool);
    with_runner(&mut before, "https://a", up(None));
    pool.status = status(&before, &Applied::default());
    assert!(pool.status.is_some());
    pool.spec.external.as_mut().unwrap().endpoints = vec!["https://b".to_owned()];
    let mut after = observed(&pool);
    with_runner(&mut after, "https://a", up(None));
    assert_eq!(status(&after, &Applied::default()), None);
}
