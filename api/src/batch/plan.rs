//! What a retry needs of a batch's plan, which the operator writes: the parameters of single pictures.

use super::rows::RowsError;
use fovea_store::{ObjectKey, Store};
use serde::Deserialize;
use serde_json::Value;

/// Most bytes of a plan without its items, and of the items of one shard.
const MAX_PLAN_BYTES: u64 = 16 * 1024 * 1024;

/// The complete plan.
#[derive(Debug, Deserialize)]
struct Plan {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(default)]
    parameters: Option<Value>,
}

/// Parameters of a batch's pictures, read shard by shard when they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    plan: Option<Plan>,
    /// Number of the shard that was read last, and its items.
    shard: Option<(u32, Vec<Item>)>,
}

impl Parameters {
    /// The parameters of the picture with this index in a shard, as its manifest has them.
    pub(crate) async fn of(
        &mut self,
        store: &Store,
        job_uid: &str,
        (shard, index): (u32, u64),
    ) -> Result<Option<Value>, RowsError> {
        if self.shard.as_ref().is_none_or(|(read, _)| *read != shard) {
            let plan = if let Some(plan) = self.plan.take() {
                plan
            } else {
                let key = ObjectKey::plan(job_uid)?;
                let json = store.get(&key, MAX_PLAN_BYTES).await?;
                serde_json::from_slice(&json).map_err(wrong)?
            };
            let key = ObjectKey::plan_shard(job_uid, &plan.id, shard)?;
            self.plan = Some(plan);
            let lines = store.get(&key, MAX_PLAN_BYTES).await?;
            let items = serde_json::Deserializer::from_slice(&lines).into_iter();
            let items = items.collect::<Result<_, _>>().map_err(wrong)?;
            self.shard = Some((shard, items));
        }
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let items = self.shard.as_ref().map(|(_, items)| items);
        let item = items.and_then(|items| items.get(index));
        Ok(item.and_then(|item| item.parameters.clone()))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn wrong(error: serde_json::Error) -> RowsError {
    RowsError::Row(format!("the batch's plan: {error}"))
}
