//! The runners: how many, by which template, and which of them are removed.

use super::{Change, Mark, Outlook, PlannedRunners};
use crate::metrics::PoolScaling;
use crate::pool::PoolKey;
use crate::pool::autoscale::Runners;
use crate::pool::build::Build;
use crate::pool::build::deployment::{
    deployment, is_swapping, models_fingerprint, models_of, replicas_of, template_of,
};
use crate::pool::load::{Load, RunnerLoad};
use crate::pool::message::Message;
use crate::pool::pods;
use crate::pool::reconcile::observe::Observed;
use crate::pool::reconcile::verdict::RUNNERS_STARTING;
use crate::pool::reconcile::{DELETION_COST, LEAVING_COST, Memory};
use crate::pool::rollout::{self, Rollout, Strategy};
use crate::pool::scale::{self, Candidate, Leaving};
use fovea_crds::Autoscaling;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Interval at which the autoscaler decides.
const AUTOSCALE_EVERY: Duration = Duration::from_secs(2);

/// Plans the Deployment, and notes its runners and their faults.
pub(super) fn plan_runners(
    observed: &Observed<'_>,
    memory: &mut Memory,
    build: &Build,
    outlook: &mut Outlook,
) -> PlannedRunners {
    let (subject, now) = (&observed.subject, observed.now);
    let live = observed.children.deployment.as_deref();
    let replicas_now = live.and_then(replicas_of);
    let candidates = candidates(observed);
    let desired = desired(observed, memory, replicas_now, &candidates, outlook);
    outlook.pods.desired = desired;

    let timeout = Duration::from_secs(build.config.scale_down_timeout_seconds.into());
    let scaled = scale::decide(
        desired,
        replicas_now,
        &candidates,
        &memory.leaving,
        now,
        timeout,
    );
    let leaving = scaled.leaving;
    if let Some(due) = scaled.due {
        outlook.reconcile_at(due);
    }
    let marks = marks(&observed.children.pods, &leaving);

    let surging = deployment(subject, build, scaled.replicas, Strategy::Surge);
    let waiting = live.and_then(|live| Some((live, waiting(observed, live, &surging, outlook)?)));
    let (template, change) = if let Some((live, message)) = waiting {
        outlook.progress(message);
        let template = template_of(live).map(str::to_owned);
        (template, Change::Scale(scaled.replicas))
    } else {
        let timeout = Duration::from_secs(build.config.surge_timeout_seconds.into());
        let decided = rollout::decide(&rollout(observed, &surging, desired), now, timeout);
        if let Some(due) = decided.due {
            outlook.reconcile_at(due);
        }
        if let Some(message) = decided.message {
            outlook.progress(message);
        }
        let deployment = match decided.strategy {
            Strategy::Surge => surging,
            Strategy::Swap => deployment(subject, build, scaled.replicas, Strategy::Swap),
        };
        let template = template_of(&deployment).map(str::to_owned);
        (template, Change::Replace(Box::new(deployment)))
    };
    survey(observed, &leaving, template.as_deref(), outlook);
    PlannedRunners {
        marks,
        change,
        replicas_now,
        leaving,
    }
}

/// Notes the runners and their faults as they are without a change.
pub(super) fn survey_present(observed: &Observed<'_>, memory: &Memory, outlook: &mut Outlook) {
    let deployment = observed.children.deployment.as_deref();
    outlook.pods.desired = deployment.and_then(replicas_of).unwrap_or(0);
    survey(observed, &memory.leaving, None, outlook);
}

/// Notes the runners and their faults. `template`: the current one.
fn survey(
    observed: &Observed<'_>,
    leaving: &Leaving,
    template: Option<&str>,
    outlook: &mut Outlook,
) {
    let (subject, children) = (&observed.subject, &observed.children);
    let models = models_fingerprint(&subject.spec.models);
    let leaving: BTreeSet<String> = leaving.keys().cloned().collect();
    outlook.runners = pods::runners(subject, &children.pods, &models, &leaving);
    let desired = outlook.pods.desired;
    outlook.pod_faults = pods::faults(children.deployment.as_deref(), &children.pods, desired);
    let existing = (children.pods.iter()).filter(|pod| !pods::has_ended(pod));
    outlook.pods.replicas = count(existing.count());
    let serving = |pod: &&Arc<Pod>| {
        let current = template.is_none_or(|template| pods::is_of(pod, template));
        current && pods::is_ready(pod) && !pods::is_terminating(pod)
    };
    let ready = count(children.pods.iter().filter(serving).count());
    if ready < desired {
        let message = format!("{ready} of {desired} runners are ready");
        outlook.progress(Message::new(RUNNERS_STARTING, message));
    }
}

fn desired(
    observed: &Observed<'_>,
    memory: &mut Memory,
    replicas_now: Option<u32>,
    candidates: &[Candidate],
    outlook: &mut Outlook,
) -> u32 {
    let spec = observed.subject.spec;
    let Some(load) = &observed.load else {
        // The dispatcher has not reported yet.
        let present = spec.autoscaling.map(|wish| {
            let replicas = replicas_now.unwrap_or(wish.min);
            replicas.clamp(wish.min, wish.max)
        });
        return present.unwrap_or(spec.replicas);
    };
    // Pools with a fixed number too: the backlog is a metric by which others may scale them.
    let wish = spec.autoscaling.unwrap_or(Autoscaling {
        min: spec.replicas,
        max: spec.replicas.max(1),
        idle_seconds: 1,
        target_queue_seconds: 1,
    });
    let runners = count_runners(observed, load, &memory.leaving, candidates);
    let decided = (memory.autoscaler).decide(&wish, load, runners, observed.instant);
    let desired = if spec.autoscaling.is_some() {
        outlook.reconcile_at(observed.after(AUTOSCALE_EVERY));
        decided.replicas
    } else {
        spec.replicas
    };
    let PoolKey { name, namespace } = &observed.subject.key;
    let scaling = PoolScaling {
        pool: format!("{namespace}/{name}"),
        wanted: desired,
        backlog_seconds: decided.backlog_seconds,
    };
    let before = memory.scaling.replace(scaling).map(|before| before.wanted);
    if spec.autoscaling.is_some() && before.is_some_and(|before| before != desired) {
        let reason = decided.reason.word();
        tracing::info!(pool = name, namespace, reason, "{decided}");
    }
    desired
}

fn count_runners(
    observed: &Observed<'_>,
    load: &Load,
    leaving: &Leaving,
    candidates: &[Candidate],
) -> Runners {
    let models = &observed.subject.spec.models;
    let runner = |name: &str| runner_load(observed, load, name);
    let serves = |name: &str| {
        let names = models.iter().map(|model| model.name.as_str());
        runner(name).is_some_and(|runner| runner.health.serves(names))
    };
    let failed_model =
        |name: &str| runner(name).is_some_and(|runner| runner.health.has_failed_model());
    let pods = observed.children.pods.iter();
    let failing = pods.filter(|pod| pods::is_failing(pod, observed.now));
    let failing: BTreeSet<String> = failing.map(|pod| pod.name_any()).collect();

    let staying = candidates.iter().map(|each| each.name.as_str());
    let staying: Vec<&str> = staying
        .filter(|name| !leaving.contains_key(*name))
        .collect();
    let (ready, others): (Vec<&str>, Vec<&str>) = staying.iter().partition(|name| serves(name));
    let fails = |name: &&&str| failing.contains(**name) || failed_model(name);
    Runners {
        ready: count(ready.len()),
        starting: count(others.len()),
        failing: count(others.iter().filter(fails).count()),
    }
}

/// What the dispatcher reports of a pod's runner.
fn runner_load<'a>(observed: &Observed<'_>, load: &'a Load, pod: &str) -> Option<&'a RunnerLoad> {
    load.runners
        .get(pods::url(&observed.subject, pod)?.as_str())
}

/// The live Deployment keeps its template until the weights of the new one are available: a runner
/// that waits for an import serves no jobs. Returns the message for that; `None` if all are available.
fn waiting(
    observed: &Observed<'_>,
    live: &Deployment,
    desired: &Deployment,
    outlook: &Outlook,
) -> Option<Message> {
    let models = observed.subject.spec.models.iter();
    let names = models.map(|model| model.name.as_str());
    let missing: Vec<&str> = names
        .filter(|name| !outlook.weights.contains_key(*name))
        .collect();
    if missing.is_empty() || models_of(live) == models_of(desired) {
        return None;
    }
    let message = format!(
        "the runners keep their present models until the weights of {} are available",
        missing.join(", ")
    );
    Some(Message::new("WaitingForWeights", message))
}

/// Pods that may be removed, with the jobs on them.
fn candidates(observed: &Observed<'_>) -> Vec<Candidate> {
    let pods = observed.children.pods.iter();
    let existing = pods.filter(|pod| !pods::is_terminating(pod) && !pods::has_ended(pod));
    let candidate = |pod: &Arc<Pod>| {
        let name = pod.name_any();
        let load = observed.load.as_ref();
        let load = load.and_then(|load| runner_load(observed, load, &name));
        let created = pod.metadata.creation_timestamp.as_ref();
        Candidate {
            ready: pods::is_ready(pod),
            jobs: load.map_or(0, |runner| runner.running),
            created: created.map_or(jiff::Timestamp::MAX, |time| time.0),
            name,
        }
    };
    existing.map(candidate).collect()
}

/// The deletion costs that have to change.
fn marks(pods: &[Arc<Pod>], leaving: &Leaving) -> Vec<Mark> {
    let mark = |pod: &Arc<Pod>| {
        let name = pod.name_any();
        let leaving = leaving.contains_key(&name);
        let cost = leaving.then_some(LEAVING_COST);
        let present = pod.annotations().get(DELETION_COST).map(String::as_str);
        (!pods::is_terminating(pod) && present != cost).then_some(Mark { pod: name, leaving })
    };
    pods.iter().filter_map(mark).collect()
}

fn rollout(observed: &Observed<'_>, deployment: &Deployment, desired: u32) -> Rollout {
    let template = template_of(deployment).unwrap_or_default();
    let children = &observed.children;
    let pods = children.pods.iter();
    let existing = pods.filter(|pod| !pods::is_terminating(pod) && !pods::has_ended(pod));
    let (new, old): (Vec<_>, Vec<_>) = existing.partition(|pod| pods::is_of(pod, template));
    Rollout {
        old: count(old.len()),
        new_ready: count(new.iter().filter(|pod| pods::is_ready(pod)).count()),
        desired,
        swapping: children.deployment.as_deref().is_some_and(is_swapping),
        stuck: new.iter().filter_map(|pod| pods::unscheduled(pod)).min(),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
