//! Observations for tests.

use super::observe::Observed;
use crate::fixtures::{at, served};
use crate::pool::authorities::Trusted;
use crate::pool::build::Subject;
use crate::pool::caches::Children;
use crate::pool::load::{Health, Load, RunnerLoad};
use crate::pool::validate;
use fovea_crds::RunnerPool;
use fovea_protocol::ModelState;
use serde_json::{Value, json};
use std::time::Instant;

/// A pool of one model `m`; `more`: fields of the spec.
pub(super) fn pool(more: &Value) -> RunnerPool {
    let source = json!({"object": {"prefix": "x"}});
    let mut spec = json!({"models": [{"name": "m", "task": "image-to-text", "source": source}]});
    let fields = more.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(fields);
    let pool = json!({
        "apiVersion": "fovea.dev/v1alpha1", "kind": "RunnerPool",
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 7}, "spec": spec,
    });
    serde_json::from_value(pool).unwrap()
}

/// A pool without objects, whose load the dispatcher has reported.
pub(super) fn observed(pool: &RunnerPool) -> Observed<'_> {
    Observed {
        pool,
        subject: Subject::of(pool),
        now: at(0),
        instant: Instant::now(),
        load: Some(Load {
            external: pool.spec.external.is_some(),
            connected: true,
            ..Load::default()
        }),
        children: Children::default(),
        trusted: Trusted::default(),
        refusals: validate::refusals(&pool.spec),
        models: Vec::new(),
        start_faults: Vec::new(),
        store_skew: None,
    }
}

/// A runner with model `m`, whose failure is this one.
pub(super) fn up(failure: Option<&str>) -> RunnerLoad {
    let model = ModelState {
        ready: failure.is_none(),
        failure: failure.map(str::to_owned),
        ..served("m")
    };
    RunnerLoad {
        health: Health::Up {
            slots: 1,
            shard_slots: 2,
            models: vec![model],
        },
        running: 0,
    }
}
