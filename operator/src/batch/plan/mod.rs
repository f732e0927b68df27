//! stub
use fovea_crds::{Failure, Input, Output, ServedModel};
use fovea_protocol::{Parameters, RowError, Task};
use fovea_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
/// What is needed of a batch's job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub uid: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub task: Task,
    /// The model of the results, as far as it is known.
    pub model: Option<&'a ServedModel>,
    pub input: &'a Input,
    pub output: &'a Output,
}

/// What is to be done, without the items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Random. The items lie below it.
    pub id: String,
    pub of: PlanOf,
    pub shards: Vec<ShardSize>,
    /// Listed objects that are not pictures, or archives, by their names.
    pub skipped: u64,
}

impl Plan {
    /// Number of items: of pictures, or of archives.
    pub(crate) fn items(&self) -> u64 {
        self.shards.iter().map(|shard| u64::from(shard.items)).sum()
    }
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlanOf {
    Pictures,
    /// One shard each; its pictures are counted while it is read.
    Archives,
}

/// Size of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardSize {
    pub items: u32,
    /// Sum of the known sizes.
    pub bytes: u64,
}

/// An item of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanItem {
    /// Relative to `data/<namespace>/`. With `error` it may be no valid key, or empty.
    pub key: String,
    /// The user's name for the picture; the key if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Size of the object, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// In place of the job's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// The item has failed already and is never fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RowError>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// There will be none: the batch fails.
    #[error("{}", .0.message)]
    Never(Failure),
    /// It can be made anew later.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) async fn make(
    _: &Store,
    _: Batch<'_>,
    _: impl Fn(u64) + Send,
) -> Result<Plan, PlanError> {
    unimplemented!()
}
pub(crate) async fn read(_: &Store, _: &str) -> Result<Option<Plan>, StoreError> {
    unimplemented!()
}
pub(crate) async fn items(
    _: &Store,
    _: &str,
    _: &Plan,
    _: u32,
) -> Result<Vec<PlanItem>, StoreError> {
    unimplemented!()
}
