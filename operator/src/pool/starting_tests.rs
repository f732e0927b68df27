use super::*;
use serde_json::{Value, json};

/// A pod with this status and spec.
fn pod(status: &Value, spec: &Value) -> Pod {
    let metadata = json!({"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"});
    let pod = json!({"metadata": metadata, "spec": spec, "status": status});
    serde_json::from_value(pod).unwrap()
}

#[test]
fn a_pod_that_its_node_has_not_started_is_recognised_by_its_conditions() {
    let since = "2026-01-01T00:00:05Z";
    let of = |phase: &str, conditions: Value| {
        let status = json!({"phase": phase, "conditions": conditions});
        unstarted(&pod(&status, &json!({"containers": []})))
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
fn a_pod_that_no_scheduler_has_looked_at_is_reported_with_its_scheduler_and_claims() {
    let pending = |spec: Value| pod(&json!({"phase": "Pending"}), &spec);
    let at = |seconds: i64| Timestamp::from_second(1_767_225_600 + seconds).unwrap();
    let typo = pending(json!({"containers": [], "schedulerName": "volcanoo"}));
    assert_eq!(unstarted(&typo), Some(at(0)));
    assert_eq!(unseen(&typo, at(14)), None);
    let fault = unseen(&typo, at(15)).unwrap();
    assert_eq!(fault.reason, "NotScheduled");
    assert_eq!(
        fault.message,
        "scheduler volcanoo has not looked at it: check that one of this name runs"
    );
    let claims = json!([
        {"name": "a", "resourceClaimName": "shared"},
        {"name": "b", "resourceClaimTemplateName": "each"},
    ]);
    let spec = json!({"containers": [], "schedulerName": "s", "resourceClaims": claims});
    let message = unseen(&pending(spec), at(15)).unwrap().message;
    assert!(
        message.ends_with("and that there is a ResourceClaim shared"),
        "{message}"
    );
    let refused = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
    let status = json!({"phase": "Pending", "conditions": [refused]});
    assert_eq!(
        unseen(&pod(&status, &json!({"containers": []})), at(60)),
        None
    );
}

#[test]
fn a_claim_that_cannot_be_made_from_its_template_is_a_fault() {
    let event = json!({
        "metadata": {}, "involvedObject": {}, "reason": "FailedResourceClaimCreation",
        "message": "PodResourceClaim gpu: failed to create ResourceClaim: resourceclaimtemplate \"gpu\" not found",
        "lastTimestamp": "2026-01-01T00:00:01Z",
    });
    let fault = event_fault(&[serde_json::from_value(event).unwrap()]).unwrap();
    assert_eq!(fault.reason, "ResourceClaimUnavailable");
    assert!(fault.message.contains("\"gpu\" not found"), "{fault:?}");
}

#[test]
fn only_the_kubelet_s_latest_fault_is_reported() {
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
    let fault = event_fault(&events).unwrap();
    assert_eq!(
        (fault.reason, &*fault.message),
        ("VolumeUnavailable", "path does not exist")
    );
    assert_eq!(event_fault(&events[2..]), None);

    let pods = ["p-1", "p-2"].map(|pod| (pod.to_owned(), fault.clone()));
    let message = "pod p-1 and 1 more: path does not exist".to_owned();
    assert_eq!(
        by_kind(&pods.into()),
        [Message::new("VolumeUnavailable", message)]
    );
}
