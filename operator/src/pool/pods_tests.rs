use super::*;
use crate::pool::build::Subject;
use fovea_crds::{RunnerPool, RunnerPoolSpec};
use serde_json::{Value, json};

/// A pod with this status and additional metadata.
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

fn reported(pods: &[Arc<Pod>]) -> Vec<(&'static str, String)> {
    let each = faults(None, pods, 2).into_iter();
    each.map(|fault| (fault.reason, fault.message)).collect()
}

#[test]
fn an_image_that_cannot_be_pulled_is_reported_with_its_name_once_for_all_pods() {
    let pods = [
        waiting("p-1", "ImagePullBackOff", "Back-off pulling image"),
        waiting("p-2", "ImagePullBackOff", "Back-off pulling image"),
    ];
    assert_eq!(
        reported(&pods),
        [(
            "ImagePullBackOff",
            "pod p-1 and 1 more: image example/runner:1 cannot be pulled: Back-off pulling image"
                .to_owned()
        )]
    );
    let first_words = waiting("p-1", "ErrImagePull", "not\nfound");
    let message = &reported(&[first_words])[0];
    assert!(
        message.0 == "ImagePullBackOff" && message.1.ends_with("not found"),
        "{message:?}"
    );
}

#[test]
fn an_unschedulable_pod_is_reported_with_the_scheduler_s_message() {
    let status = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let pod = pod("p-1", &status, &json!({}));
    let faults = reported(std::slice::from_ref(&pod));
    assert_eq!(faults[0].0, "Unschedulable");
    assert!(
        faults[0].1.contains("Insufficient nvidia.com/gpu"),
        "{faults:?}"
    );
    let (since, _) = unscheduled(&pod).unwrap();
    assert_eq!(since.to_string(), "2026-01-01T00:00:00Z");
}

#[test]
fn a_crashing_runner_is_reported_with_its_exit_code_and_last_message() {
    let crashing = container(
        "p-1",
        &json!({
            "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no CUDA device\n"}},
        }),
    );
    let [(reason, message)] = &reported(&[crashing])[..] else {
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
    assert_eq!(reported(&[killed])[0].0, "OutOfMemory");
}

#[test]
fn the_message_of_a_log_s_last_line_is_found() {
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
fn an_unschedulable_additional_pod_is_no_fault() {
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let status = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let surge = pod("p-3", &status, &json!({}));
    let whole = ["p-1", "p-2"].map(|name| pod(name, &ready, &json!({})));
    assert_eq!(
        reported(&[&whole[..], std::slice::from_ref(&surge)].concat()),
        []
    );
    assert_eq!(reported(&[whole[0].clone(), surge])[0].0, "Unschedulable");
}

#[test]
fn a_runner_that_has_restarted_is_no_fault() {
    let back = container(
        "p-1",
        &json!({"restartCount": 3, "ready": true, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 1}}}),
    );
    assert_eq!(reported(&[back]), []);
    let starting = container(
        "p-1",
        &json!({"state": {"waiting": {"reason": "ContainerCreating"}}}),
    );
    assert_eq!(reported(&[starting]), []);
}

#[test]
fn an_evicted_pod_is_reported_until_others_have_replaced_it() {
    let status = json!({"phase": "Failed", "reason": "Evicted",
        "message": "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Gi\"."});
    let evicted = pod("p-1", &status, &json!({}));
    let [(reason, message)] = &reported(std::slice::from_ref(&evicted))[..] else {
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
    assert_eq!(reported(&whole), []);
}

#[test]
fn refused_pods_are_reported_before_faults_of_pods() {
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
        .map(|fault| fault.reason)
        .collect();
    assert_eq!(reasons, ["QuotaExceeded", "ContainerRefused"]);
}

#[test]
fn quoted_messages_are_clipped_and_on_one_line() {
    let long = "line\n".repeat(1000);
    let faults = reported(&[waiting("p", "ErrImagePull", &long)]);
    assert!(faults[0].1.chars().count() < 500 && !faults[0].1.contains('\n'));
}

#[test]
fn pods_with_an_address_are_runners_current_or_leaving() {
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
fn a_pod_fails_by_a_fault_or_a_timeout_and_not_by_waiting_for_a_node() {
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

/// A pod that waits for its scheduling gate, as the API server creates it.
fn gated(name: &str) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": name},
        "spec": {"containers": [], "schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]},
        "status": {"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[test]
fn a_gated_pod_is_reported_with_its_gates_and_does_not_fail() {
    let pod = gated("p-1");
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    assert!(!is_failing(&pod, now));
    assert_eq!(
        reported(std::slice::from_ref(&pod)),
        [(
            "SchedulingGated",
            "pod p-1: it waits to be admitted: it is gated by kueue.x-k8s.io/admission".to_owned()
        )]
    );
    // An additional one of a rollout has no room, like one without a node.
    let (_, why) = unscheduled(&pod).unwrap();
    assert_eq!(why, "it is gated by kueue.x-k8s.io/admission");
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let whole = ["p-2", "p-3"].map(|name| self::pod(name, &ready, &json!({})));
    assert_eq!(reported(&[&whole[..], &[pod]].concat()), []);
}

#[test]
fn a_model_s_image_that_cannot_be_pulled_is_named_instead_of_the_runner_s() {
    let message = "Back-off pulling image \"registry/models/blip:1\": not found";
    let mut pod = Arc::unwrap_or_clone(waiting("p-1", "ImagePullBackOff", message));
    pod.spec = serde_json::from_value(json!({
        "containers": [],
        "volumes": [
            {"name": "image-0", "image": {"reference": "registry/models/blip"}},
            {"name": "image-1", "image": {"reference": "registry/models/blip:1"}},
        ],
    }))
    .unwrap();
    let faults = reported(&[Arc::new(pod)]);
    assert!(
        faults[0]
            .1
            .contains("image registry/models/blip:1 cannot be pulled"),
        "{faults:?}"
    );
}
