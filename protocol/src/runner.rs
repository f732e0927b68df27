//! What a runner says about itself, and what a new leader says to it.

use crate::Task;
use serde::{Deserialize, Serialize};

/// Answer to `GET /v1/models`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerState {
    /// A random id of this process: another id at the same address is another runner.
    pub instance: String,
    /// Requests that the runner takes at once; the next one is answered `Busy`.
    pub slots: u32,
    /// Requests it has at the moment.
    pub busy: u32,
    /// Every model that the runner is to keep, ready or not.
    pub models: Vec<ModelState>,
}

/// One model of a runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelState {
    /// The pool's name for it, which requests use.
    pub name: String,
    /// What it can be asked for.
    pub task: Task,
    /// Which weights: a hub commit, or `sha256:<digest>` of the weights file.
    pub revision: String,
    /// Resident, and one warm-up pass done.
    pub ready: bool,
}

/// Body of `PUT /v1/leader`: from now on the runner refuses requests of a lower epoch of this
/// installation and aborts those it has. Answered 204, or 409 where it has seen a higher one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderRequest {
    /// Which Fovea speaks (the operator's namespace uid): epochs of different ones do not compare.
    pub installation: String,
    /// The lease's transition count.
    pub epoch: u64,
}
