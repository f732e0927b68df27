use super::super::observe_fixtures::{observed, pool, up};
use super::*;
use crate::fixtures::at;
use crate::pool::load::RunnerLoad;
use crate::pool::message::Message;
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
fn a_pool_without_runners_is_ready_only_where_the_first_job_starts_one() {
    let autoscaled = pool(&json!({"autoscaling": {"min": 0, "max": 2}}));
    let with_autoscaling = status(&observed(&autoscaled), &with_pods(0)).unwrap();
    assert_eq!(condition(&with_autoscaling, READY).1, "ScaledToZero");
    let fixed = pool(&json!({"replicas": 0}));
    let without = status(&observed(&fixed), &with_pods(0)).unwrap();
    assert_eq!(condition(&without, READY).0, "False");
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
    let since = |status: &RunnerPoolStatus, index: usize| {
        let condition = &status.conditions[index];
        condition.last_transition_time.0
    };
    assert_eq!((since(&after, 0), since(&after, 2)), (at(60), at(0)));
    assert_eq!(
        new_fault(Some(&before), &after).unwrap().reason,
        "ApplyFailed"
    );
    assert_eq!(new_fault(Some(&after), &after), None);
    assert_eq!(new_fault(None, &after), None);
}
