//! Memory that is reserved before it is used.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit of a memory budget, in bytes: a semaphore counts in 32 bits.
const BUDGET_UNIT_BYTES: u64 = 1024;

/// A number of bytes of memory: each user reserves what it needs and releases it afterwards.
pub(super) struct MemoryBudget {
    permits: Arc<Semaphore>,
    pub(super) total_bytes: u64,
}

/// Reserved memory, released on drop.
pub(super) struct Reservation(OwnedSemaphorePermit);

impl MemoryBudget {
    pub(super) fn new(total_bytes: u64) -> Self {
        let units = u32::try_from(total_bytes / BUDGET_UNIT_BYTES).unwrap_or(u32::MAX);
        Self {
            permits: Arc::new(Semaphore::new(units as usize)),
            total_bytes,
        }
    }

    /// Memory that is not reserved.
    pub(super) fn free_bytes(&self) -> u64 {
        self.permits.available_permits() as u64 * BUDGET_UNIT_BYTES
    }

    /// Waits for `bytes` in order of arrival; `None` if they exceed the whole budget.
    pub(super) async fn take(&self, bytes: u64) -> Option<Reservation> {
        if bytes > self.total_bytes {
            return None;
        }
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_many_owned(units(bytes)?).await;
        permit.ok().map(Reservation)
    }
}

impl Reservation {
    /// Releases what is beyond `bytes`.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let kept = units(bytes).unwrap_or(u32::MAX) as usize;
        drop(self.0.split(self.0.num_permits().saturating_sub(kept)));
    }
}

fn units(bytes: u64) -> Option<u32> {
    u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).ok()
}
