//! Pods that do not start: what their scheduler, their node or a controller says about it. Pure.

use super::message::Message;
use super::pods::{condition, is_terminating, of_pods, status, words};
use crate::time::later;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time in which a scheduler says of a new pod that it has a node or has none.
const SCHEDULED_WITHIN: Duration = Duration::from_secs(15);
/// Reasons of Events of pods that do not start, and the faults that they are.
const EVENT_REASONS: [(&str, &str); 5] = [
    ("FailedResourceClaimCreation", "ResourceClaimUnavailable"),
    ("FailedMount", "VolumeUnavailable"),
    ("FailedAttachVolume", "VolumeUnavailable"),
    ("FailedMapVolume", "VolumeUnavailable"),
    ("FailedCreatePodSandBox", "ContainerRefused"),
];

/// Time since which its scheduler has said nothing about it, or its node has not started it because its claims,
/// its volumes or its network are not ready. `None` where neither is so.
pub(crate) fn unstarted(pod: &Pod) -> Option<Timestamp> {
    let waits = status(pod)?.phase.as_deref() == Some("Pending") && !is_terminating(pod);
    let Some(scheduled) = condition(pod, "PodScheduled") else {
        return pod
            .metadata
            .creation_timestamp
            .as_ref()
            .filter(|_| waits)
            .map(|time| time.0);
    };
    let begun = condition(pod, "PodReadyToStartContainers");
    let begun = begun.is_some_and(|begun| begun.status == "True");
    (waits && scheduled.status == "True" && !begun)
        .then(|| scheduled.last_transition_time.as_ref().map(|time| time.0))
        .flatten()
}

/// The fault of a pod about which its scheduler has said nothing for too long. There may be no such scheduler;
/// and Kubernetes' own says nothing while a `ResourceClaim` is missing.
pub(crate) fn unseen(pod: &Pod, now: Timestamp) -> Option<Message> {
    let since = unstarted(pod).filter(|_| condition(pod, "PodScheduled").is_none())?;
    let spec = pod.spec.as_ref().filter(|spec| spec.node_name.is_none())?;
    let scheduler = spec.scheduler_name.as_deref().unwrap_or_default();
    let claims = spec.resource_claims.iter().flatten();
    let claims: Vec<&str> = claims
        .filter_map(|claim| claim.resource_claim_name.as_deref())
        .collect();
    let claims = match claims.as_slice() {
        [] => String::new(),
        names => format!(", and that there is a ResourceClaim {}", names.join(", ")),
    };
    let message = format!(
        "scheduler {scheduler} has not looked at it: check that one of this name runs{claims}"
    );
    (later(since, SCHEDULED_WITHIN) <= now).then(|| Message {
        reason: "NotScheduled",
        message: words(Some(&message)),
    })
}

/// The latest fault among a pod's Events.
pub(crate) fn event_fault(events: &[Event]) -> Option<Message> {
    let faults = events.iter().filter_map(|event| {
        let reason = event.reason.as_deref()?;
        let (_, fault) = EVENT_REASONS.iter().find(|(known, _)| *known == reason)?;
        Some((time_of(event), *fault, event))
    });
    let (_, reason, event) = faults.max_by_key(|(time, ..)| *time)?;
    Some(Message {
        reason,
        message: words(event.message.as_deref()),
    })
}

fn time_of(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref();
    let last = series.and_then(|series| series.last_observed_time.as_ref());
    let micro = last.or(event.event_time.as_ref()).map(|time| time.0);
    event.last_timestamp.as_ref().map(|time| time.0).max(micro)
}

/// The pods' faults: equal ones as one, with the first pod's name and the number of the others.
pub(crate) fn by_kind(faults: &BTreeMap<String, Message>) -> Vec<Message> {
    let mut kinds: BTreeMap<&Message, Vec<&str>> = BTreeMap::new();
    for (pod, fault) in faults {
        kinds.entry(fault).or_default().push(pod);
    }
    let each = kinds.into_iter();
    each.map(|(fault, pods)| Message::new(fault.reason, of_pods(&pods, &fault.message)))
        .collect()
}

#[cfg(test)]
#[path = "starting_tests.rs"]
mod tests;
