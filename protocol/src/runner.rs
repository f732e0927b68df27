//! State of a runner, and the requests that load models and announce a leader.

use crate::Task;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// Answer to `GET /v1/models`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerState {
    /// Random id of this process, which tells a restarted runner at the same address from the old
    /// one.
    pub instance: String,
    /// Maximum number of concurrent requests. The runner answers further ones with `Busy`.
    pub slots: u32,
    /// Number of requests that the runner works on.
    pub busy: u32,
    /// Maximum number of concurrent shards of batches, which take no slots; 0 if the runner does no batches.
    #[serde(default)]
    pub shard_slots: u32,
    /// Number of shards that the runner works on.
    #[serde(default)]
    pub shards_busy: u32,
    /// Every configured model, ready or not.
    pub models: Vec<ModelState>,
}

/// State of one model of a runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelState {
    /// Name of the model in the pool, which requests use.
    pub name: String,
    /// Task that the model performs.
    pub task: Task,
    /// Revision of the weights: a commit of the Hugging Face repository, or `sha256:<digest>` of
    /// the weights file.
    pub revision: String,
    /// Whether the model is loaded and has completed a warm-up pass.
    pub ready: bool,
    /// Reason why the model failed to load. The runner tries again when it receives another `PUT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Body of `PUT /v1/models/{name}`, which makes the runner fetch and load a model. The answer is
/// 202 with the [`RunnerState`]. A repeated request changes nothing, unless the model has failed:
/// then the runner tries again. Another source under the same name replaces the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelRequest {
    /// Installation that sends the request; see [`LeaderRequest::installation`].
    pub installation: String,
    /// Transition count of the sending leader's lease.
    pub epoch: u64,
    /// Task of the model. The runner rejects a checkpoint for another task.
    pub task: Task,
    /// Location to load the checkpoint from.
    pub source: ModelSource,
    /// Data type of the weights. The runner chooses it if this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// Maximum number of pictures in one batch. The runner's own limit applies if this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<NonZeroU32>,
}

/// Data type of a model's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floating point.
    Float32,
    /// 16-bit floating point with the range of float32.
    Bfloat16,
    /// 16-bit floating point (IEEE half precision).
    Float16,
}

/// Location of a checkpoint, laid out as a Hugging Face repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ModelSource {
    /// Folder below the runner's `--models-dir`.
    Path(String),
    /// Files to download by presigned URLs.
    Files {
        /// Revision of the files together, as `<repo>@<commit>`.
        revision: String,
        /// Files of the folder, all of them.
        files: Vec<ModelFile>,
    },
}

/// One file of a checkpoint to download.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelFile {
    /// Path of the file in the folder.
    pub path: String,
    /// Presigned URL to GET the file. It is secret until it expires.
    pub url: String,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file in lower-case hexadecimal.
    pub sha256: String,
}

impl std::fmt::Debug for ModelFile {
    /// Omits the URL, which holds a signature.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({} bytes, sha256 {})",
            self.path, self.bytes, self.sha256
        )
    }
}

/// Body of `PUT /v1/leader`. From then on the runner rejects requests of this installation with a
/// lower epoch and aborts those in progress. The leader repeats it while it leads, so that the runner
/// does not forget the installation. The answer is 204; or 409 with [`crate::Problem::epoch`], if the
/// runner remembers a higher epoch, or this one of another holder; or 503 if it remembers as many
/// other installations as it can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderRequest {
    /// Uid of the lease. Epochs of different installations are not comparable.
    pub installation: String,
    /// Transition count of the leader's lease.
    pub epoch: u64,
    /// Random id of the leader's process. Two leaders can have the same epoch if the cluster was
    /// restored from a snapshot between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}
