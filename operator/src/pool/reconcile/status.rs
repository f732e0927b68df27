//! Step 6: the pool's status. Pure.

use super::apply::Applied;
use super::observe::Observed;
use super::plan::PodCounts;
use super::verdict::{leave_queue, verdict};
use crate::events::Notice;
use crate::pool::load::{Health, Load};
use crate::time::OUR_CLOCK;
use fovea_crds::{
    ModelStatus, RunnerPool, RunnerPoolStatus,
    bounds::MAX_REVISION_LENGTH,
    clip,
    conditions::{self, DEGRADED, PROGRESSING, READY, RECONCILING, STALLED},
};
use fovea_store::ClockSkew;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Longest error of one model, in characters.
const MAX_FAULT_LENGTH: u32 = 300;

/// Value, reason and message of a condition.
type State = (&'static str, &'static str, String);

fn degraded(status: &RunnerPoolStatus) -> Option<&Condition> {
    conditions::get_true(&status.conditions, DEGRADED)
}

/// The Event for the step from `before` to `after`, if it shows a new fault.
pub(crate) fn new_fault(
    before: Option<&RunnerPoolStatus>,
    after: &RunnerPoolStatus,
) -> Option<Notice> {
    let now = degraded(after)?;
    let known = before
        .and_then(degraded)
        .is_some_and(|known| known.reason == now.reason);
    // The runners of a pool that was just created have not been checked yet.
    (before.is_some() && !known).then_some(Notice {
        reason: now.reason.clone(),
        note: now.message.clone(),
    })
}

/// The pool's status. `None` where the present one stands: the dispatcher of a new leader has not
/// reported on the pool yet.
pub(crate) fn status(observed: &Observed<'_>, applied: &Applied) -> Option<RunnerPoolStatus> {
    let pool = observed.pool;
    let (ready, load) = match &observed.load {
        Some(load) if load.connected && is_of(load, pool) => (None, load),
        _ if pool.written_status().is_some() || applied.pods.is_none() => return None,
        _ => (Some(not_provided()), &Load::default()),
    };
    let names = || pool.spec.models.iter().map(|model| model.name.as_str());
    let models: Vec<ModelStatus> = names()
        .map(|name| model_status(name, load, applied))
        .collect();
    // The scale subresource counts pods, including those without an address.
    let replicas = (applied.pods.as_ref()).map_or(count(load.runners.len()), |pods| pods.replicas);
    let runners = load.runners.values();
    let ready_replicas = count(runners.filter(|each| each.health.serves(names())).count());
    let ready = ready.unwrap_or_else(|| {
        let pods = applied.pods.as_ref();
        readiness(pool, pods, ready_replicas, replicas, &models)
    });
    let progressing = applied.progressing.as_ref().map_or(
        (
            "False",
            "Stable",
            "no change is being rolled out".to_owned(),
        ),
        |message| ("True", message.reason, message.message.clone()),
    );
    let conditions = conditions_of(
        observed,
        applied,
        &[
            (DEGRADED, degradation(observed.store_skew, load, applied)),
            (PROGRESSING, progressing),
            (READY, ready),
        ],
    );
    Some(RunnerPoolStatus {
        observed_generation: pool.metadata.generation,
        replicas,
        ready_replicas,
        selector: applied.pods.as_ref().map(|pods| pods.selector.clone()),
        queued: load.waiting,
        running: load.running,
        models,
        conditions,
    })
}

/// Whether the load is of the runners that the spec names: the dispatcher may not have seen an edit yet.
fn is_of(load: &Load, pool: &RunnerPool) -> bool {
    match &pool.spec.external {
        None => !load.external,
        Some(external) => {
            let mut endpoints = external.endpoints.iter();
            load.external && endpoints.all(|endpoint| load.runners.contains_key(endpoint))
        }
    }
}

/// The conditions that the pool had, with these three, and what follows from them.
fn conditions_of(
    observed: &Observed<'_>,
    applied: &Applied,
    states: &[(&'static str, State); 3],
) -> Vec<Condition> {
    let (pool, now) = (observed.pool, observed.now);
    let known = pool.written_status();
    let mut conditions = known.map_or(Vec::new(), |known| known.conditions.clone());
    if known.is_some_and(|known| known.observed_generation != pool.metadata.generation) {
        // An edit may be what helps: it gets its time.
        conditions.retain(|known| known.type_ != RECONCILING && known.type_ != STALLED);
    }
    for (type_, (value, reason, message)) in states {
        conditions::set(&mut conditions, (type_, value), (reason, message), now);
    }
    leave_queue(&mut conditions);
    let [_, _, (_, (ready, why, _))] = states;
    let progressing = applied.progressing.as_ref();
    let verdict = verdict(pool, (ready, why), progressing, &conditions, now);
    for type_ in [RECONCILING, STALLED] {
        match &verdict {
            Some((found, reason, message)) if *found == type_ => {
                conditions::set(&mut conditions, (type_, "True"), (reason, message), now);
            }
            _ => conditions::remove(&mut conditions, type_),
        }
    }
    conditions
}

/// The condition Ready before the dispatcher has reported on a new pool.
fn not_provided() -> State {
    let message = "the pool was just created, and has no runners yet";
    ("False", "NotProvided", message.to_owned())
}

fn readiness(
    pool: &RunnerPool,
    pods: Option<&PodCounts>,
    ready_replicas: u32,
    replicas: u32,
    models: &[ModelStatus],
) -> State {
    if ready_replicas > 0 {
        let message = format!("{ready_replicas} of {replicas} runners serve every model");
        return ("True", "RunnersReady", message);
    }
    if pods.is_some_and(|pods| pods.desired == 0)
        && let Some(scaled_to_zero) = scaled_to_zero(pool)
    {
        return scaled_to_zero;
    }
    let missing = models.iter().filter(|model| !model.ready);
    let missing: Vec<&str> = missing.map(|model| model.name.as_str()).collect();
    if missing.is_empty() {
        let message = "every model is served, but no single runner serves all of them";
        return ("True", "ModelsReady", message.to_owned());
    }
    let message = format!("no runner serves {}", missing.join(", "));
    ("False", "ModelsNotReady", message)
}

/// The condition Ready of a pool that should have no runners.
fn scaled_to_zero(pool: &RunnerPool) -> Option<State> {
    match pool.spec.autoscaling {
        Some(_) => Some((
            "True",
            "ScaledToZero",
            "there are no jobs; the first one starts a runner".to_owned(),
        )),
        // As a Deployment of 0 replicas is Available.
        None if pool.spec.replicas == 0 => Some((
            "True",
            "NoReplicas",
            "spec.replicas is 0; scale the pool with `kubectl scale` to run its jobs".to_owned(),
        )),
        None => None,
    }
}

/// A store's clock that is off is a fault where its runners get URLs that the store refuses; else it is only named.
fn degradation(skew: Option<ClockSkew>, load: &Load, applied: &Applied) -> State {
    let faults = &applied.faults;
    let mut reason = faults.first().map(|fault| fault.reason);
    let mut messages: Vec<String> = faults.iter().map(|fault| fault.message.clone()).collect();
    for (endpoint, runner) in &load.runners {
        let (fault, why) = match &runner.health {
            Health::Up { models, .. } => {
                for model in models {
                    if let Some(why) = &model.failure {
                        reason.get_or_insert("ModelFailed");
                        let why = clip::clip(why, MAX_FAULT_LENGTH);
                        messages.push(format!("{endpoint}: model {}: {why}", model.name));
                    }
                }
                continue;
            }
            // The pod's own state says why it does not start.
            Health::Unchecked | Health::Starting(_) if applied.pods.is_some() => continue,
            Health::Unchecked => ("RunnersUnavailable", "the runner has not been checked yet"),
            Health::Down(why) | Health::Starting(why) => ("RunnersUnavailable", why.as_str()),
            Health::Refusing(why) => ("StaleEpoch", why.as_str()),
        };
        reason.get_or_insert(fault);
        messages.push(format!("{endpoint}: {why}"));
    }
    if let Some(skew) = skew {
        messages.push(skew.describe(OUR_CLOCK));
        if !skew.is_corrected() {
            reason.get_or_insert("StoreClockSkew");
        }
    }
    match reason {
        None => {
            messages.insert(0, "every runner answers".to_owned());
            ("False", "RunnersAnswer", messages.join("; "))
        }
        Some(reason) => ("True", reason, messages.join("; ")),
    }
}

fn model_status(name: &str, load: &Load, applied: &Applied) -> ModelStatus {
    let models = load
        .runners
        .values()
        .flat_map(|runner| runner.health.models());
    let served: Vec<_> = models.filter(|model| model.name == name).collect();
    let revision = served
        .first()
        .map(|model| clip::clip(&model.revision, MAX_REVISION_LENGTH));
    let resolved = applied.resolved.get(name);
    ModelStatus {
        name: name.to_owned(),
        revision,
        ready: served.iter().any(|model| model.ready),
        source: resolved.map(|resolved| resolved.source.clone()),
        commit: resolved.map(|resolved| resolved.commit.clone()),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
