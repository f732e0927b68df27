//! The plan of a batch: its items, cut into shards and written to `system/<job uid>/` before the first shard
//! runs. What changes in the user's folder afterwards changes nothing, and a new leader reads the plan.
//!
//! The items of each shard are an object of their own, written while the input is still being read, so that a
//! plan of any size takes little memory. `plan.json` is written last, on condition that there is none: it is
//! the commit. A plan without it is made anew under another id, and its objects are deleted with the job's.

mod listed;
mod manifest;
mod shards;
mod writer;

use crate::kill_points;
use fovea_crds::{Failure, Input, Output, ServedModel, clip};
use fovea_protocol::{Parameters, RowError, Task};
use fovea_store::{InvalidKey, ObjectKey, Store, StoreError};
use serde::{Deserialize, Serialize};
use shards::MAX_PAGE_BYTES;
use writer::Writer;

/// Maximum number of objects or lines that a plan is made from, skipped ones included.
pub(crate) const MAX_ITEMS: u64 = 100_000_000;

/// Maximum number of shards: enough for [`MAX_ITEMS`] pictures of 500 KiB.
pub(crate) const MAX_SHARDS: usize = 200_000;

/// Maximum size of `plan.json`, in bytes: [`MAX_SHARDS`] with room.
const MAX_PLAN_BYTES: u64 = 16 * 1024 * 1024;

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

impl PlanError {
    fn never(reason: &str, message: &str) -> Self {
        Self::Never(Failure {
            reason: reason.to_owned(),
            message: clip::message(message),
            retryable: false,
        })
    }
}

/// Makes and commits a plan; returns the committed one, which is another planner's if that was faster.
/// `progress` is called with the number of items so far.
pub(crate) async fn make(
    store: &Store,
    batch: Batch<'_>,
    progress: impl Fn(u64) + Send,
) -> Result<Plan, PlanError> {
    let of = match batch.input {
        Input::Archives { .. } => PlanOf::Archives,
        _ => PlanOf::Pictures,
    };
    let mut writer = Writer::new(store, batch.uid, of, progress);
    let skipped = match batch.input {
        Input::Prefix {
            prefix,
            include,
            exclude,
        } => {
            let selection = listed::Selection::new(include, exclude)?;
            listed::pictures(store, batch.namespace, prefix, &selection, &mut writer).await?
        }
        Input::Archives { prefix } => {
            listed::archives(store, batch.namespace, prefix, &mut writer).await?
        }
        Input::Manifest { key } => {
            manifest::read(store, batch, key, &mut writer).await?;
            0
        }
        Input::Upload { .. } | Input::Object { .. } | Input::Inline { .. } => {
            return Err(PlanError::never(
                "InvalidInput",
                "spec.input is no batch: it needs no plan",
            ));
        }
    };
    let (id, shards) = writer.end().await?;
    kill_points::after(kill_points::BATCH_ITEMS_WRITTEN);
    let plan = Plan {
        id,
        of,
        shards,
        skipped,
    };
    commit(store, batch.uid, plan).await.map_err(Into::into)
}

async fn commit(store: &Store, uid: &str, plan: Plan) -> Result<Plan, StoreError> {
    let key = ObjectKey::plan(uid).map_err(invalid)?;
    let json = serde_json::to_vec(&plan).map_err(|error| wrong(&key, &error))?;
    if store.put_if_absent(&key, json.into()).await? {
        kill_points::after(kill_points::BATCH_PLANNED);
        return Ok(plan);
    }
    let gone = || StoreError::Unavailable(format!("{key} was deleted while it was being created"));
    read(store, uid).await?.ok_or_else(gone)
}

/// The committed plan, if there is one.
pub(crate) async fn read(store: &Store, job_uid: &str) -> Result<Option<Plan>, StoreError> {
    let key = ObjectKey::plan(job_uid).map_err(invalid)?;
    match store.get(&key, MAX_PLAN_BYTES).await {
        Ok(json) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|error| wrong(&key, &error)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The items of one shard, in order.
pub(crate) async fn items(
    store: &Store,
    job_uid: &str,
    plan: &Plan,
    shard: u32,
) -> Result<Vec<PlanItem>, StoreError> {
    let key = ObjectKey::plan_shard(job_uid, &plan.id, shard).map_err(invalid)?;
    let lines = store.get(&key, MAX_PAGE_BYTES as u64).await?;
    let items = serde_json::Deserializer::from_slice(&lines).into_iter();
    let items: Vec<PlanItem> = items
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&key, &error))?;
    let planned = usize::try_from(shard)
        .ok()
        .and_then(|shard| plan.shards.get(shard))
        .map_or(0, |size| size.items as usize);
    if items.len() != planned {
        let count = format!("{} items instead of {planned}", items.len());
        return Err(wrong(&key, &count));
    }
    Ok(items)
}

fn wrong(key: &ObjectKey, what: &dyn std::fmt::Display) -> StoreError {
    StoreError::Config(format!("{key} is not as it was written: {what}"))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn invalid(error: InvalidKey) -> StoreError {
    StoreError::Config(error.to_string())
}
