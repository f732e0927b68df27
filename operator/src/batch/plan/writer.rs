//! Writes the items of a plan, shard by shard, while its input is read.

use super::shards::{Cutter, MAX_SHARD_ITEMS, Page};
use super::{MAX_ITEMS, MAX_SHARDS, PlanError, PlanItem, PlanOf, ShardSize, invalid};
use fovea_store::{ObjectKey, Store, StoreError};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Bound on shards that are written at once. Reading waits for them.
const MAX_WRITES: usize = 8;

pub(super) struct Writer<'a, P> {
    store: &'a Store,
    uid: &'a str,
    id: String,
    cutter: Cutter,
    shards: Vec<ShardSize>,
    writes: JoinSet<Result<(), StoreError>>,
    items: u64,
    progress: P,
}

impl<'a, P: Fn(u64)> Writer<'a, P> {
    pub(super) fn new(store: &'a Store, uid: &'a str, of: PlanOf, progress: P) -> Self {
        let max_items = match of {
            PlanOf::Pictures => MAX_SHARD_ITEMS,
            PlanOf::Archives => 1,
        };
        Self {
            store,
            uid,
            id: Uuid::new_v4().simple().to_string(),
            cutter: Cutter::new(max_items),
            shards: Vec::new(),
            writes: JoinSet::new(),
            items: 0,
            progress,
        }
    }

    /// Number of items so far.
    pub(super) fn items(&self) -> u64 {
        self.items
    }

    pub(super) async fn push(&mut self, item: &PlanItem) -> Result<(), PlanError> {
        if self.items == MAX_ITEMS {
            return Err(too_many(&format!("more than {MAX_ITEMS} items")));
        }
        self.items += 1;
        let line = serde_json::to_vec(item)
            .map_err(|error| StoreError::Config(format!("an item is no JSON: {error}")))?;
        match self.cutter.push(&line, item.bytes.unwrap_or(0)) {
            Some(page) => self.write(page).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, page: Page) -> Result<(), PlanError> {
        let shard = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        if self.shards.len() == MAX_SHARDS {
            return Err(too_many(&format!("more than {MAX_SHARDS} shards")));
        }
        if self.writes.len() == MAX_WRITES {
            self.written().await?;
        }
        let key = ObjectKey::plan_shard(self.uid, &self.id, shard).map_err(invalid)?;
        let store = self.store.clone();
        self.shards.push(page.size);
        self.writes.spawn(async move {
            let lines = page.lines.into();
            store.put(&key, lines, "application/x-ndjson").await
        });
        (self.progress)(self.items);
        Ok(())
    }

    /// Waits for one write, if there is any.
    async fn written(&mut self) -> Result<(), StoreError> {
        match self.writes.join_next().await {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(StoreError::Unavailable(error.to_string())),
        }
    }

    /// Writes the rest; returns the plan's id and its shards.
    pub(super) async fn end(mut self) -> Result<(String, Vec<ShardSize>), PlanError> {
        if let Some(page) = self.cutter.rest() {
            self.write(page).await?;
        }
        while !self.writes.is_empty() {
            self.written().await?;
        }
        Ok((self.id, self.shards))
    }
}

fn too_many(what: &str) -> PlanError {
    PlanError::never(
        "TooManyItems",
        &format!("the input has {what}: write several batches, each with a part of it"),
    )
}
