use super::*;

fn pool(name: &str, depth: usize) -> PoolSnapshot {
    PoolSnapshot {
        pool: name.to_owned(),
        waiting: vec![("image-to-text", depth, 1.5)],
        in_flight: 3,
        up: 2,
        down: 1,
    }
}

#[test]
fn metrics_have_the_names_that_dashboards_use() {
    let metrics = Metrics::new();
    metrics.snapshot(&Snapshot {
        unfinished: 9,
        finished: 4,
        full_namespaces: 1,
        namespaces_over_quota: 2,
        namespaces: vec![("known", 8)],
        callbacks_waiting: 5,
        callbacks_in_flight: 2,
        kept_results: 6,
        pools: vec![pool("fovea-system/default", 7)],
        batches: vec![BatchSnapshot {
            pool: "fovea-system/default".to_owned(),
            running: 2,
            pictures_left: 19_000,
            seconds_since_progress: 3.5,
        }],
    });
    metrics.attempt("retried", "OutOfMemory");
    metrics.shard_attempt("retried", "FetchFailed");
    metrics.batch_pictures(9, 1);
    metrics.reused_pictures("batch", 4);
    let timings = Timings {
        queue_millis: 5,
        ..Timings::default()
    };
    metrics.job_succeeded(&timings, Duration::from_millis(20), false);
    metrics.job_succeeded(&Timings::default(), Duration::from_millis(20), true);
    metrics.status_write("stands");
    metrics.finished_job_deleted("limit");
    metrics.result_put(ResultPut::Stored);
    metrics.callback_try("delivered");
    metrics.set_aside("InferenceJob");
    metrics.lease_taken(7);
    metrics.swept(true);
    metrics.swept_object(Fate::PutAgain, 2);
    metrics.store_state(Some("lists"));
    let text = metrics.text();
    for line in [
        r#"fovea_operator_jobs{state="unfinished"} 9"#,
        r#"fovea_operator_jobs{state="finished"} 4"#,
        r#"fovea_operator_full_namespaces{limit="finished"} 1"#,
        r#"fovea_operator_full_namespaces{limit="unfinished"} 2"#,
        "fovea_operator_clock_skew_seconds ",
        r#"fovea_operator_store_fault{fault="lists"} 1"#,
        r#"fovea_operator_store_fault{fault="writes"} 0"#,
        r#"fovea_operator_namespaces{table="known"} 8"#,
        r#"fovea_operator_finished_jobs_deleted_total{cause="limit"} 1"#,
        r#"fovea_operator_queue_depth{pool="fovea-system/default",task="image-to-text"} 7"#,
        r#"fovea_operator_oldest_waiting_seconds{pool="fovea-system/default",task="image-to-text"} 1.5"#,
        r#"fovea_operator_attempts_in_flight{pool="fovea-system/default"} 3"#,
        r#"fovea_operator_runners{pool="fovea-system/default",state="up"} 2"#,
        r#"fovea_operator_runners{pool="fovea-system/default",state="down"} 1"#,
        r#"fovea_operator_attempts_total{outcome="retried",reason="OutOfMemory"} 1"#,
        r#"fovea_operator_batches{pool="fovea-system/default"} 2"#,
        r#"fovea_operator_batch_pictures_left{pool="fovea-system/default"} 19000"#,
        r#"fovea_operator_batch_progress_age_seconds{pool="fovea-system/default"} 3.5"#,
        r#"fovea_operator_shard_attempts_total{outcome="retried",reason="FetchFailed"} 1"#,
        r#"fovea_operator_batch_pictures_total{outcome="succeeded"} 9"#,
        r#"fovea_operator_batch_pictures_total{outcome="failed"} 1"#,
        r#"fovea_operator_reused_pictures_total{of="batch"} 4"#,
        r#"fovea_operator_job_stage_seconds_count{stage="total"} 2"#,
        r#"fovea_operator_job_stage_seconds_count{stage="infer"} 1"#,
        r#"fovea_operator_job_stage_seconds_sum{stage="queued"} 0.005"#,
        r#"fovea_operator_status_writes_total{outcome="stands"} 1"#,
        r#"fovea_operator_callbacks_due{state="waiting"} 5"#,
        r#"fovea_operator_callbacks_due{state="in-flight"} 2"#,
        r#"fovea_operator_result_puts_total{outcome="stored"} 1"#,
        "fovea_operator_kept_results 6",
        r#"fovea_operator_callback_tries_total{outcome="delivered"} 1"#,
        r#"fovea_operator_objects_set_aside_total{kind="InferenceJob"} 1"#,
        "fovea_operator_leading 1",
        "fovea_operator_lease_epoch 7",
        "fovea_operator_lease_acquisitions_total 1",
        r#"fovea_operator_sweeps_total{outcome="complete"} 1"#,
        r#"fovea_operator_swept_objects_total{fate="put-again"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    metrics.lease_ended(true);
    let text = metrics.text();
    assert!(text.contains("fovea_operator_leading 0"), "{text}");
    assert!(
        text.contains("fovea_operator_lease_losses_total 1"),
        "{text}"
    );
}

#[test]
fn counters_of_alerts_start_at_zero() {
    let text = Metrics::new().text();
    for line in [
        r#"fovea_operator_attempts_total{outcome="interrupted",reason="RunnerLost"} 0"#,
        r#"fovea_operator_shard_attempts_total{outcome="interrupted",reason="RunnerLost"} 0"#,
        r#"fovea_operator_batch_pictures_total{outcome="failed"} 0"#,
        r#"fovea_operator_status_writes_total{outcome="gave-up"} 0"#,
        r#"fovea_operator_result_puts_total{outcome="refused"} 0"#,
        r#"fovea_operator_callback_tries_total{outcome="given-up"} 0"#,
        r#"fovea_operator_sweeps_total{outcome="failed"} 0"#,
        r#"fovea_operator_finished_jobs_deleted_total{cause="limit"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_pool_that_is_gone_has_no_series() {
    let metrics = Metrics::new();
    let of = |pools| Snapshot {
        pools,
        ..Snapshot::default()
    };
    metrics.snapshot(&of(vec![pool("a", 1), pool("b", 2)]));
    metrics.snapshot(&of(vec![pool("b", 3)]));
    let text = metrics.text();
    assert!(!text.contains(r#"pool="a""#), "{text}");
    let kept = r#"queue_depth{pool="b",task="image-to-text"} 3"#;
    assert!(text.contains(kept), "{text}");
}

#[test]
fn the_scale_and_the_backlog_of_a_pool_are_exported_for_other_autoscalers() {
    let metrics = Metrics::new();
    let pool = |name: &str, wanted, backlog_seconds| PoolScaling {
        pool: name.to_owned(),
        wanted,
        backlog_seconds,
    };
    metrics.scaling(&[pool("a", 4, Some(90.5)), pool("b", 1, None)]);
    let text = metrics.text();
    for line in [
        r#"fovea_operator_pool_replicas_wanted{pool="a"} 4"#,
        r#"fovea_operator_pool_replicas_wanted{pool="b"} 1"#,
        r#"fovea_operator_pool_backlog_seconds{pool="a"} 90.5"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(r#"backlog_seconds{pool="b"}"#), "{text}");
    metrics.scaling(&[pool("b", 1, Some(0.0))]);
    let text = metrics.text();
    assert!(!text.contains(r#"pool="a""#), "{text}");
    assert!(
        text.contains(r#"pool_backlog_seconds{pool="b"} 0"#),
        "{text}"
    );
}
