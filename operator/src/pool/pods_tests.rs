use super::*;
use crate::pool::build::Subject;
use fovea_crds::{RunnerPool, RunnerPoolSpec};
use serde_json::{Value, json};

/// A pod with a status and, merged into the rest, what else there is of it.
fn pod(name: &str, status: &Value, metadata: &Value) -> Arc<Pod> {
    let mut pod = json!({"metadata": {"name": name}, "status": status});
    let more = metadata.as_object().unwrap().clone();
    pod["metadata"].as_object_mut().unwrap().extend(more);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn waiting(name: &str, reason: &str, message: &str) -> Arc<Pod> {
    container(
        name,
        &json!({"state": {"waiting": {"reason": reason, "message": message}}}),
    )
}

fn container(name: &str, more: &Value) -> Arc<Pod> {
    let mut status = json!({
        "name": "runner", "image": "example/runner:1", "imageID": "", "ready": false, "restartCount": 0,
    });
    status
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    pod(
        name,
        &json!({"phase": "Running", "containerStatuses": [status]}),
        &json!({}),
    )
}

fn told(pods: &[Arc<Pod>]) -> Vec<(&'static str, String)> {
    let each = faults(None, pods, 2).into_iter();
    each.map(|told| (told.reason, told.message)).collect()
}

#[test]
fn an_image_that_cannot_be_pulled_is_told_with_its_name_once_for_all_pods() {
    let pods = [
        waiting("p-1", "ImagePullBackOff", "Back-off pulling image"),
        waiting("p-2", "ImagePullBackOff", "Back-off pulling image"),
    ];
    assert_eq!(
        told(&pods),
        [(
            "ImagePullBackOff",
            "pod p-1 and 1 more: image example/runner:1 cannot be pulled: Back-off pulling image"
                .to_owned()
        )]
    );
    let first_words = waiting("p-1", "ErrImagePull", "not\nfound");
    let message = &told(&[first_words])[0];
    assert!(
        message.0 == "ImagePullBackOff" && message.1.ends_with("not found"),
        "{message:?}"
    );
}

#[test]
fn a_pod_that_no_node_takes_is_told_in_the_scheduler_s_words() {
    let status = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let pod = pod("p-1", &status, &json!({}));
    let told = told(std::slice::from_ref(&pod));
    assert_eq!(told[0].0, "Unschedulable");
    assert!(
        told[0].1.contains("Insufficient nvidia.com/gpu"),
        "{told:?}"
    );
    let (since, _) = unscheduled(&pod).unwrap();
    assert_eq!(since.to_string(), "2026-01-01T00:00:00Z");
}

#[test]
fn a_runner_that_ends_again_and_again_is_told_with_its_exit_code_and_last_words() {
    let crashing = container(
        "p-1",
        &json!({
            "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no CUDA device\n"}},
        }),
    );
    let [(reason, message)] = &told(&[crashing])[..] else {
        panic!()
    };
    assert_eq!(*reason, "CrashLoopBackOff");
    assert_eq!(
        message,
        "pod p-1: the runner ended with exit code 1, 3 restarts so far: no CUDA device"
    );
    let killed = container(
        "p-1",
        &json!({"restartCount": 1, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}),
    );
    assert_eq!(told(&[killed])[0].0, "OutOfMemory");
}

#[test]
fn the_last_words_of_a_log_are_told_without_what_is_before_them() {
    let json = r#"{"level":"INFO","message":"starting"}
{"timestamp":"2026-01-01T00:00:00Z","level":"ERROR","message":"no CUDA device"}
"#;
    let text = "2026-01-01T00:00:00Z ERROR no CUDA device\n\n";
    for log in [json, text, "no CUDA device"] {
        assert_eq!(last_words(Some(log)), "no CUDA device");
    }
    assert_eq!(last_words(None), "");
}

#[test]
fn one_more_than_there_must_be_without_a_node_is_the_rollout_s_to_tell() {
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let status = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let surge = pod("p-3", &status, &json!({}));
    let whole = ["p-1", "p-2"].map(|name| pod(name, &ready, &json!({})));
    assert_eq!(
        told(&[&whole[..], std::slice::from_ref(&surge)].concat()),
        []
    );
    assert_eq!(told(&[whole[0].clone(), surge])[0].0, "Unschedulable");
}

#[test]
fn a_runner_that_has_come_back_is_no_fault() {
    let back = container(
        "p-1",
        &json!({"restartCount": 3, "ready": true, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 1}}}),
    );
    assert_eq!(told(&[back]), []);
    let starting = container(
        "p-1",
        &json!({"state": {"waiting": {"reason": "ContainerCreating"}}}),
    );
    assert_eq!(told(&[starting]), []);
}

#[test]
fn an_evicted_pod_is_told_until_others_have_taken_its_place() {
    let status = json!({"phase": "Failed", "reason": "Evicted",
        "message": "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Gi\"."});
    let evicted = pod("p-1", &status, &json!({}));
    let [(reason, message)] = &told(std::slice::from_ref(&evicted))[..] else {
        panic!()
    };
    assert_eq!(*reason, "Evicted");
    assert!(message.contains("exceeds the limit"), "{message}");
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let whole = [
        evicted,
        pod("p-2", &ready, &json!({})),
        pod("p-3", &ready, &json!({})),
    ];
    assert_eq!(told(&whole), []);
}

#[test]
fn what_the_api_server_refuses_is_told_before_what_pods_wait_for() {
    let deployment: Deployment = serde_json::from_value(json!({"status": {"conditions": [{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "pods \"p\" is forbidden: exceeded quota: small",
    }]}}))
    .unwrap();
    let pods = [waiting(
        "p-1",
        "CreateContainerConfigError",
        "secret \"x\" not found",
    )];
    let reasons: Vec<_> = faults(Some(&deployment), &pods, 1)
        .into_iter()
        .map(|told| told.reason)
        .collect();
    assert_eq!(reasons, ["QuotaExceeded", "ContainerRefused"]);
}

#[test]
fn words_of_others_are_kept_short_and_on_one_line() {
    let long = "line\n".repeat(1000);
    let told = told(&[waiting("p", "ErrImagePull", &long)]);
    assert!(told[0].1.chars().count() < 500 && !told[0].1.contains('\n'));
}

#[test]
fn runners_are_pods_with_an_address_and_say_whether_they_are_current_or_leave() {
    let mut pool = RunnerPool::new("big", RunnerPoolSpec::new(Vec::new()));
    pool.metadata.namespace = Some("ns".into());
    let subject = Subject::of(&pool);
    let status = json!({"phase": "Running", "podIP": "10.1.2.3"});
    let pods = [
        pod("old", &status, &json!({"annotations": {MODELS: "1"}})),
        pod("new", &status, &json!({"annotations": {MODELS: "2"}})),
        pod(
            "six",
            &json!({"podIP": "fd00::1"}),
            &json!({"annotations": {MODELS: "2"}}),
        ),
        pod(
            "dying",
            &status,
            &json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        ),
        pod("pending", &json!({"phase": "Pending"}), &json!({})),
        pod(
            "ended",
            &json!({"phase": "Failed", "podIP": "10.1.2.4"}),
            &json!({}),
        ),
    ];
    let leaving = BTreeSet::from(["old".to_owned()]);
    let runners = runners(&subject, &pods, "2", &leaving);
    let summary: Vec<_> = runners
        .iter()
        .map(|each| (each.name.as_str(), each.current, each.leaving))
        .collect();
    assert_eq!(
        summary,
        [
            ("dying", false, true),
            ("new", true, false),
            ("old", false, true),
            ("six", true, false)
        ]
    );
    assert_eq!(
        runners[1].url.as_str(),
        "https://new.big-runner.ns.svc:9400/"
    );
    assert_eq!(runners[1].address.to_string(), "10.1.2.3:9400");
    assert_eq!(runners[3].address.to_string(), "[fd00::1]:9400");
}

#[test]
fn a_pod_fails_by_a_fault_or_by_its_time_and_not_by_waiting_for_a_node() {
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    assert!(is_failing(&waiting("p", "ImagePullBackOff", "no"), now));
    assert!(!is_failing(&waiting("p", "ContainerCreating", ""), now));
    let conditioned = |conditions: Value| {
        is_failing(
            &pod(
                "p",
                &json!({"phase": "Pending", "conditions": conditions}),
                &json!({}),
            ),
            now,
        )
    };
    let scheduled = |value: &str, since: &str| json!({"type": "PodScheduled", "status": value, "reason": "Unschedulable", "lastTransitionTime": since});
    assert!(conditioned(json!([scheduled(
        "True",
        "2026-01-01T00:44:00Z"
    )])));
    assert!(!conditioned(json!([scheduled(
        "True",
        "2026-01-01T00:46:00Z"
    )])));
    assert!(!conditioned(json!([scheduled(
        "False",
        "2026-01-01T00:00:00Z"
    )])));
}

#[test]
fn a_pod_that_its_node_has_not_begun_is_known_by_its_conditions() {
    let since = "2026-01-01T00:00:05Z";
    let of = |phase: &str, conditions: Value| {
        unstarted(&pod(
            "p",
            &json!({"phase": phase, "conditions": conditions}),
            &json!({}),
        ))
    };
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": since});
    let scheduled = condition("PodScheduled", "True");
    let begun = |status| condition("PodReadyToStartContainers", status);
    let when = Some(since.parse().unwrap());
    assert_eq!(of("Pending", json!([scheduled])), when);
    assert_eq!(of("Pending", json!([scheduled, begun("False")])), when);
    // It pulls its image.
    assert_eq!(of("Pending", json!([scheduled, begun("True")])), None);
    assert_eq!(of("Running", json!([scheduled, begun("False")])), None);
    assert_eq!(
        of("Pending", json!([condition("PodScheduled", "False")])),
        None
    );
}

#[test]
fn the_last_of_a_kubelet_s_words_is_told_and_others_are_not() {
    let event = |reason: &str, second: u32, message: &str| -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "involvedObject": {}, "reason": reason, "message": message,
            "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
        }))
        .unwrap()
    };
    let events = [
        event("FailedMount", 7, "path does not exist"),
        event("FailedMount", 3, "not yet bound"),
        event("Unhealthy", 9, "probe failed"),
    ];
    let told = kubelet_fault(&events).unwrap();
    assert_eq!(
        (told.reason, &*told.message),
        ("VolumeUnavailable", "path does not exist")
    );
    assert_eq!(kubelet_fault(&events[2..]), None);

    let pods = ["p-1", "p-2"].map(|pod| (pod.to_owned(), told.clone()));
    let message = "pod p-1 and 1 more: path does not exist".to_owned();
    assert_eq!(
        by_kind(&pods.into()),
        [Message::new("VolumeUnavailable", message)]
    );
}
