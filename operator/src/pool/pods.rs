//! The state of a pool's pods: which are runners, and their faults. Pure.

use super::build::names::{MODELS, TEMPLATE};
use super::build::{CONTAINERS, PORT, Subject};
use super::message::Message;
use super::published::RunnerPod;
use fovea_crds::clip::clip;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use kube::ResourceExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Longest quoted message, in characters.
const MAX_WORDS: u32 = 300;
/// Most faults of one pool in its status.
const MAX_FAULTS: usize = 8;
/// Longest time from scheduling to readiness: pulling an image of gigabytes and downloading models over a
/// slow network.
const SERVES_WITHIN: Duration = Duration::from_mins(15);
/// Reasons of the kubelet for an image that cannot be pulled.
const IMAGE_REASONS: [&str; 5] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
];
const CONFIG_REASONS: [&str; 4] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PreCreateHookError",
];

/// The pods that have an address and have not ended. `models`: fingerprint of the current models.
/// `leaving`: names of the pods to be removed.
pub(crate) fn runners(
    subject: &Subject<'_>,
    pods: &[Arc<Pod>],
    models: &str,
    leaving: &BTreeSet<String>,
) -> Vec<RunnerPod> {
    let runner = |pod: &Arc<Pod>| {
        let name = pod.name_any();
        let address: IpAddr = status(pod)?.pod_ip.as_ref()?.parse().ok()?;
        (!has_ended(pod)).then_some(RunnerPod {
            url: url(subject, &name)?,
            address: SocketAddr::new(address, PORT),
            current: annotation(pod, MODELS) == Some(models),
            leaving: is_terminating(pod) || leaving.contains(&name),
            name,
        })
    };
    let mut runners: Vec<RunnerPod> = pods.iter().filter_map(runner).collect();
    runners.sort_by(|a, b| a.name.cmp(&b.name));
    runners
}

/// The URL of a pod's runner: its endpoint, and the name in its certificate.
pub(crate) fn url(subject: &Subject<'_>, pod: &str) -> Option<Url> {
    let Subject { key, child, .. } = subject;
    let url = format!("https://{pod}.{child}.{}.svc:{PORT}/", key.namespace);
    Url::parse(&url).ok()
}

pub(crate) fn is_of(pod: &Pod, template: &str) -> bool {
    annotation(pod, TEMPLATE) == Some(template)
}

pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether it has ended, and does not restart.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    let phase = status(pod).and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Whether it will not become ready by itself: it has a fault, or has been scheduled for too long. A pod
/// that waits for a node does not fail.
pub(crate) fn is_failing(pod: &Pod, now: Timestamp) -> bool {
    let scheduled = condition(pod, "PodScheduled").filter(|each| each.status == "True");
    let since = scheduled.and_then(|each| each.last_transition_time.as_ref());
    let late = since.is_some_and(|since| {
        now.duration_since(since.0) > SignedDuration::try_from(SERVES_WITHIN).unwrap_or_default()
    });
    let wrong = unscheduled(pod).is_none() && pod_fault(pod).is_some();
    !is_ready(pod) && (late || wrong)
}

/// Since when it has been held back from the nodes, and why: none can run it, or it is gated.
pub(crate) fn unscheduled(pod: &Pod) -> Option<(Timestamp, String)> {
    let condition = condition(pod, "PodScheduled").filter(|each| each.status == "False")?;
    let since = condition
        .last_transition_time
        .as_ref()
        .or(pod.metadata.creation_timestamp.as_ref())?;
    let why = match gates(pod).as_slice() {
        [] => words(condition.message.as_deref()),
        gates => words(Some(&format!("it is gated by {}", gates.join(", ")))),
    };
    Some((since.0, why))
}

/// The scheduling gates that are left, such as Kueue's.
fn gates(pod: &Pod) -> Vec<&str> {
    let gates = pod.spec.iter().flat_map(|spec| &spec.scheduling_gates);
    gates.flatten().map(|gate| gate.name.as_str()).collect()
}

/// A message with the first pod's name and the number of the others.
pub(crate) fn of_pods(names: &[impl AsRef<str>], message: &str) -> String {
    let first = names.first().map(AsRef::as_ref).unwrap_or_default();
    let others = match names.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("pod {first}{others}: {message}")
}

/// The pods' faults, the most important first: those that a user must fix come before those that may
/// disappear by themselves.
pub(crate) fn faults(
    deployment: Option<&Deployment>,
    pods: &[Arc<Pod>],
    desired: u32,
) -> Vec<Message> {
    let mut found: BTreeMap<(u8, &'static str, String), Vec<String>> = BTreeMap::new();
    let whole = pods
        .iter()
        .filter(|pod| is_ready(pod) && !is_terminating(pod))
        .count();
    let short = whole < desired as usize;
    for pod in pods.iter().filter(|pod| !is_terminating(pod)) {
        // Ended pods stay as a record; they are no fault once others have replaced them.
        if has_ended(pod) && !short {
            continue;
        }
        if let Some((rank, reason, message)) = pod_fault(pod) {
            // An additional pod belongs to a rollout, whose message covers it.
            if unscheduled(pod).is_some() && !short {
                continue;
            }
            found
                .entry((rank, reason, message))
                .or_default()
                .push(pod.name_any());
        }
    }
    let mut faults: Vec<((u8, &'static str), String)> = found
        .into_iter()
        .map(|((rank, reason, message), names)| ((rank, reason), of_pods(&names, &message)))
        .collect();
    faults.extend(deployment.and_then(refused_pods));
    faults.sort();
    faults.truncate(MAX_FAULTS);
    let each = faults
        .into_iter()
        .map(|((_, reason), message)| Message { reason, message });
    each.collect()
}

/// Pods that the API server refuses to create: quotas, admission.
fn refused_pods(deployment: &Deployment) -> Option<((u8, &'static str), String)> {
    let mut conditions = deployment.status.as_ref()?.conditions.iter().flatten();
    let refused =
        conditions.find(|each| each.type_ == "ReplicaFailure" && each.status == "True")?;
    let message = words(refused.message.as_deref());
    let reason = if message.contains("exceeded quota") {
        "QuotaExceeded"
    } else {
        "PodsRefused"
    };
    Some(((1, reason), format!("pods cannot be created: {message}")))
}

fn pod_fault(pod: &Pod) -> Option<(u8, &'static str, String)> {
    if let Some((_, why)) = unscheduled(pod) {
        return Some(if gates(pod).is_empty() {
            (4, "Unschedulable", format!("no node can run it: {why}"))
        } else {
            let message = format!("it waits to be admitted: {why}");
            (4, "SchedulingGated", message)
        });
    }
    if has_ended(pod) {
        let status = status(pod)?;
        let reason = status.reason.as_deref().unwrap_or("Failed");
        let why = words(status.message.as_deref());
        let reason_word = if reason == "Evicted" {
            "Evicted"
        } else {
            "PodFailed"
        };
        return Some((5, reason_word, format!("{reason}: {why}")));
    }
    // Faults of sidecars that an admission controller has added are not reported.
    let mut statuses = status(pod)?.container_statuses.iter().flatten();
    container_fault(
        pod,
        statuses.find(|each| CONTAINERS.contains(&each.name.as_str()))?,
    )
}

fn container_fault(pod: &Pod, container: &ContainerStatus) -> Option<(u8, &'static str, String)> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let why = words(waiting.message.as_deref());
        if IMAGE_REASONS.contains(&reason) {
            // The message changes between the reasons; the reason in the status does not.
            let why_whole = waiting.message.as_deref().unwrap_or_default();
            let image = model_image(pod, why_whole).unwrap_or(&container.image);
            let image = clip(image, MAX_WORDS);
            return Some((
                0,
                "ImagePullBackOff",
                format!("image {image} cannot be pulled: {why}"),
            ));
        }
        if CONFIG_REASONS.contains(&reason) {
            return Some((2, "ContainerRefused", format!("{reason}: {why}")));
        }
    }
    // The last termination says more than the state CrashLoopBackOff.
    let last = container
        .last_state
        .as_ref()
        .and_then(|last| last.terminated.as_ref());
    let ended = state.terminated.as_ref().or(last)?;
    if container.ready || (container.restart_count == 0 && ended.exit_code == 0) {
        return None;
    }
    let why = last_words(ended.message.as_deref());
    let times = container.restart_count;
    if ended.reason.as_deref() == Some("OOMKilled") {
        let message = format!(
            "the runner ran out of memory, {times} restarts so far; raise template.resources.limits.memory"
        );
        return Some((3, "OutOfMemory", message));
    }
    let code = ended.exit_code;
    let message = format!("the runner ended with exit code {code}, {times} restarts so far: {why}");
    Some((3, "CrashLoopBackOff", message))
}

/// The model's image that the kubelet's message is about: a container waits for those, too.
fn model_image<'a>(pod: &'a Pod, message: &str) -> Option<&'a str> {
    let volumes = pod.spec.as_ref()?.volumes.iter().flatten();
    let mut images = volumes.filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
    images.find(|reference| message.contains(&format!("\"{reference}\"")))
}

pub(crate) fn status(pod: &Pod) -> Option<&k8s_openapi::api::core::v1::PodStatus> {
    pod.status.as_ref()
}

pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let mut conditions = status(pod)?.conditions.iter().flatten();
    conditions.find(|each| each.type_ == kind)
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata
        .annotations
        .as_ref()?
        .get(key)
        .map(String::as_str)
}

/// A quoted message, on one line and clipped.
pub(crate) fn words(text: Option<&str>) -> String {
    let line = text
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    clip(&line, MAX_WORDS)
}

/// The message of a log's last line, which says why the program ended.
pub(crate) fn last_words(log: Option<&str>) -> String {
    let mut lines = log.unwrap_or_default().lines().rev();
    let line = lines
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(line) {
        let message = json
            .get("message")
            .or_else(|| json.pointer("/fields/message"));
        if let Some(message) = message.and_then(serde_json::Value::as_str) {
            return words(Some(message));
        }
    }
    words(Some(
        line.split_once("ERROR ").map_or(line, |(_, rest)| rest),
    ))
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
