//! What a pool's status tells. Pure.

use crate::dispatch::fleet::{Fleet, Health};
use crate::events::Notice;
use crate::pool::provision::Provision;
use fovea_crds::{
    ModelStatus, RunnerPool, RunnerPoolStatus,
    bounds::MAX_REVISION_LENGTH,
    clip,
    conditions::{DEGRADED, PROGRESSING, READY},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a runner says of one model, at most; in characters.
const MAX_FAULT_LENGTH: u32 = 300;

/// What a person is to be told of the step from `before` to `after`: runners that do not answer any
/// more, or others than before.
pub(crate) fn new_fault(
    before: Option<&RunnerPoolStatus>,
    after: &RunnerPoolStatus,
) -> Option<Notice> {
    let degraded = |status: &RunnerPoolStatus| {
        let mut conditions = status.conditions.iter();
        conditions
            .find(|each| each.type_ == DEGRADED && each.status == "True")
            .cloned()
    };
    let now = degraded(after)?;
    let known = before
        .and_then(degraded)
        .is_some_and(|known| known.message == now.message);
    // A pool that has just been made has not been asked yet.
    (before.is_some() && !known).then_some(Notice {
        reason: now.reason,
        note: now.message,
    })
}

/// The status of a pool whose runners are `fleet`.
pub(crate) fn status(
    pool: &RunnerPool,
    fleet: &Fleet,
    provision: Option<&Provision>,
    queued: usize,
    now: Timestamp,
) -> RunnerPoolStatus {
    let models: Vec<ModelStatus> = pool
        .spec
        .models
        .iter()
        .map(|model| model_status(&model.name, fleet, provision))
        .collect();
    let names = || pool.spec.models.iter().map(|model| model.name.as_str());
    // What the scale subresource counts are pods, also those that have no address yet.
    let replicas = provision.map_or(fleet.iter().count(), |provision| {
        provision.replicas as usize
    });
    let ready_replicas = fleet
        .iter()
        .filter(|(_, health)| health.serves(names()))
        .count();
    let ready = readiness(pool, provision, ready_replicas, replicas, &models);
    let degraded = degradation(fleet, provision);
    let progressing = provision
        .and_then(|provision| provision.progressing.as_ref())
        .map_or(
            ("False", "Stable", "nothing is being rolled out".to_owned()),
            |told| ("True", told.reason, told.message.clone()),
        );
    let before = pool
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let condition = |type_: &str, (value, reason, message): (&str, &str, String)| {
        let since = before
            .iter()
            .find(|known| known.type_ == type_ && known.status == value);
        clip::condition(Condition {
            type_: type_.to_owned(),
            status: value.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since
                .map_or(Time(now), |known| known.last_transition_time.clone()),
            observed_generation: pool.metadata.generation,
        })
    };
    RunnerPoolStatus {
        observed_generation: pool.metadata.generation,
        replicas: count(replicas),
        ready_replicas: count(ready_replicas),
        selector: provision.map(|provision| provision.selector.clone()),
        queued: count(queued),
        running: fleet.in_flight(),
        models,
        conditions: vec![
            condition(DEGRADED, degraded),
            condition(PROGRESSING, progressing),
            condition(READY, ready),
        ],
    }
}

/// Value, reason and message of the condition Ready.
fn readiness(
    pool: &RunnerPool,
    provision: Option<&Provision>,
    ready_replicas: usize,
    replicas: usize,
    models: &[ModelStatus],
) -> (&'static str, &'static str, String) {
    let missing: Vec<&str> = models
        .iter()
        .filter(|model| !model.ready)
        .map(|model| model.name.as_str())
        .collect();
    let wanted = provision.map(|provision| provision.wanted);
    if pool.spec.external.is_none() && wanted.is_none() {
        (
            "False",
            "NotProvided",
            "the pool has just been made, and has no pods yet".to_owned(),
        )
    } else if let Some(scaled_to_zero) = scaled_to_zero(pool, wanted, ready_replicas) {
        scaled_to_zero
    } else if ready_replicas > 0 {
        (
            "True",
            "RunnersReady",
            format!("{ready_replicas} of {replicas} runners serve every model"),
        )
    } else if missing.is_empty() {
        (
            "True",
            "ModelsReady",
            "every model is served, though by no runner alone".to_owned(),
        )
    } else {
        (
            "False",
            "ModelsNotReady",
            format!("no runner serves {}", missing.join(", ")),
        )
    }
}

/// The same where there are to be no runners.
fn scaled_to_zero(
    pool: &RunnerPool,
    wanted: Option<u32>,
    ready_replicas: usize,
) -> Option<(&'static str, &'static str, String)> {
    let none = wanted == Some(0) && ready_replicas == 0;
    match pool.spec.autoscaling {
        Some(_) if none => Some((
            "True",
            "ScaledToZero",
            "there is nothing to do; the first job starts a runner".to_owned(),
        )),
        None if none && pool.spec.replicas == 0 => Some((
            "False",
            "NoReplicas",
            "spec.replicas is 0: `kubectl scale` the pool to have its jobs run".to_owned(),
        )),
        _ => None,
    }
}

/// Value, reason and message of the condition Degraded.
fn degradation(
    fleet: &Fleet,
    provision: Option<&Provision>,
) -> (&'static str, &'static str, String) {
    let of_pods = provision.map_or(&[][..], |provision| &provision.faults);
    let mut reason = of_pods.first().map(|fault| fault.reason);
    let mut faults: Vec<String> = of_pods.iter().map(|fault| fault.message.clone()).collect();
    for (endpoint, health) in fleet.iter() {
        match health {
            Health::Up { state, .. } => {
                for model in &state.models {
                    if let Some(why) = &model.failure {
                        reason.get_or_insert("ModelFailed");
                        let why = clip::clip(why, MAX_FAULT_LENGTH);
                        faults.push(format!("{endpoint}: model {}: {why}", model.name));
                    }
                }
            }
            // Why a pod does not start, its own state tells.
            Health::Starting(_) if provision.is_some() => {}
            Health::Down(why) | Health::Starting(why) => {
                reason.get_or_insert("RunnersUnavailable");
                faults.push(format!("{endpoint}: {why}"));
            }
        }
    }
    match reason {
        None => ("False", "RunnersAnswer", "every runner answers".to_owned()),
        Some(reason) => ("True", reason, faults.join("; ")),
    }
}

fn model_status(name: &str, fleet: &Fleet, provision: Option<&Provision>) -> ModelStatus {
    let served: Vec<_> = fleet
        .iter()
        .filter_map(|(_, health)| match health {
            Health::Up { state, .. } => state.models.iter().find(|each| each.name == name),
            Health::Down(_) | Health::Starting(_) => None,
        })
        .collect();
    let revision = served
        .first()
        .map(|model| clip::clip(&model.revision, MAX_REVISION_LENGTH));
    let resolved = provision.and_then(|provision| provision.resolved.get(name));
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
