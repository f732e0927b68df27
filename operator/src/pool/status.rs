//! What a pool's status tells. Pure.

use crate::dispatch::fleet::{Fleet, Health};
use crate::job::notice::Notice;
use fovea_crds::{
    ModelStatus, RunnerPool, RunnerPoolStatus,
    bounds::MAX_REVISION_LENGTH,
    clip,
    conditions::{DEGRADED, PROGRESSING, READY},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

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
    queued: usize,
    now: Timestamp,
) -> RunnerPoolStatus {
    let faults: Vec<String> = fleet
        .iter()
        .filter_map(|(endpoint, health)| match health {
            Health::Up { .. } => None,
            Health::Down(why) => Some(format!("{endpoint}: {why}")),
        })
        .collect();
    let models: Vec<ModelStatus> = pool
        .spec
        .models
        .iter()
        .map(|model| model_status(&model.name, fleet))
        .collect();
    let serves_all = |health: &Health| match health {
        Health::Up { state, .. } => {
            let ready = |name: &str| {
                state
                    .models
                    .iter()
                    .any(|each| each.name == name && each.ready)
            };
            pool.spec.models.iter().all(|model| ready(&model.name))
        }
        Health::Down(_) => false,
    };
    let replicas = fleet.iter().count();
    let ready_replicas = fleet
        .iter()
        .filter(|(_, health)| serves_all(health))
        .count();
    let ready = readiness(pool, ready_replicas, replicas, &models);
    let degraded = if faults.is_empty() {
        ("False", "RunnersAnswer", "every runner answers".to_owned())
    } else {
        ("True", "RunnersUnavailable", faults.join("; "))
    };
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
        selector: None,
        queued: count(queued),
        running: fleet.in_flight(),
        models,
        conditions: vec![
            condition(DEGRADED, degraded),
            condition(
                PROGRESSING,
                ("False", "Stable", "nothing is being rolled out".to_owned()),
            ),
            condition(READY, ready),
        ],
    }
}

/// Value, reason and message of the condition Ready.
fn readiness(
    pool: &RunnerPool,
    ready_replicas: usize,
    replicas: usize,
    models: &[ModelStatus],
) -> (&'static str, &'static str, String) {
    let missing: Vec<&str> = models
        .iter()
        .filter(|model| !model.ready)
        .map(|model| model.name.as_str())
        .collect();
    if pool.spec.external.is_none() {
        (
            "False",
            "NotSupported",
            "this release runs pools with spec.external only".to_owned(),
        )
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

fn model_status(name: &str, fleet: &Fleet) -> ModelStatus {
    let served: Vec<_> = fleet
        .iter()
        .filter_map(|(_, health)| match health {
            Health::Up { state, .. } => state.models.iter().find(|each| each.name == name),
            Health::Down(_) => None,
        })
        .collect();
    let revision = served
        .first()
        .map(|model| clip::clip(&model.revision, MAX_REVISION_LENGTH));
    ModelStatus {
        name: name.to_owned(),
        revision,
        ready: served.iter().any(|model| model.ready),
        ..ModelStatus::default()
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
