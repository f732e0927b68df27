//! What a runner says about itself, and what a new leader says to it.

use crate::Task;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

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
    /// Why it is not and will not be, until it is put again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Body of `PUT /v1/models/{name}`: a model that the runner is to fetch, load and keep. Answered
/// 202 with the [`RunnerState`]; the same request again changes nothing, unless the model has
/// failed, and then tries again. Another source under the same name replaces the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelRequest {
    /// Which Fovea speaks; see [`LeaderRequest`].
    pub installation: String,
    /// The speaking leader's lease transition count.
    pub epoch: u64,
    /// What it is to do; a checkpoint for another task is refused.
    pub task: Task,
    /// Where the checkpoint is.
    pub source: ModelSource,
    /// The type of its numbers; the runner's own choice where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// How many pictures may share one pass; the runner's own bound where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<NonZeroU32>,
}

/// The type of a model's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32 bits.
    Float32,
    /// 16 bits with float32's range.
    Bfloat16,
    /// 16 bits with more digits and less range.
    Float16,
}

/// Where a checkpoint is; a folder in the hub's layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ModelSource {
    /// A folder below the runner's `--models-dir`.
    Path(String),
    /// Files to be fetched.
    Files {
        /// What they are together: `<repo>@<commit>`.
        revision: String,
        /// Every file of the folder.
        files: Vec<ModelFile>,
    },
}

/// One file of a checkpoint.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelFile {
    /// Its place in the folder.
    pub path: String,
    /// A presigned GET: a secret while it lasts.
    pub url: String,
    /// Its length.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

impl std::fmt::Debug for ModelFile {
    /// Does not tell the signature.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({} bytes, sha256 {})",
            self.path, self.bytes, self.sha256
        )
    }
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
