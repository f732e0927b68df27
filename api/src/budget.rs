//! One budget for the bytes that requests hold in memory: bodies, downloads, lists, archives and responses.
//! Each reserves its bytes before it holds them, or is refused.

use crate::error::{Problem, ProblemType};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

/// Longest wait of a request for memory.
const WAIT: Duration = Duration::from_secs(1);
/// Time between the tries of a request that waits.
const POLL: Duration = Duration::from_millis(20);
/// `Retry-After` of a request that got none.
const RETRY_AFTER_SECONDS: u32 = 1;

/// What is left of the budget. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

/// Bytes of the budget, which are free again once this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation(OwnedSemaphorePermit);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Reserves bytes that are free now.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Result<Reservation, Problem> {
        let count = u32::try_from(bytes).map_err(|_| overloaded())?;
        let permit = Arc::clone(&self.0).try_acquire_many_owned(count);
        permit.map(Reservation).map_err(|_| overloaded())
    }

    /// Reserves bytes, for which it waits up to [`WAIT`]. It tries again and again: the semaphore's own queue would
    /// keep what is free for a large request, while small ones wait behind it.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reservation, Problem> {
        let deadline = Instant::now() + WAIT;
        loop {
            match self.try_reserve(bytes) {
                Err(_) if Instant::now() < deadline => sleep(POLL).await,
                reserved => return reserved,
            }
        }
    }
}

impl Reservation {
    /// Adds another reservation of the same budget.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    /// Releases what exceeds `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        drop(self.0.split(self.0.num_permits().saturating_sub(bytes)));
    }
}

/// `bytes` that keep their `memory` until the last of their copies is dropped, which is when they have been written
/// to the client.
pub(crate) fn hold<M: Send + Sync + 'static>(bytes: Bytes, memory: M) -> Bytes {
    Bytes::from_owner(Held {
        bytes,
        _memory: memory,
    })
}

struct Held<M> {
    bytes: Bytes,
    _memory: M,
}

impl<M> AsRef<[u8]> for Held<M> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(crate) fn overloaded() -> Problem {
    let detail =
        "the service holds as many bytes of requests as it has memory for: try again in a moment";
    Problem::new(ProblemType::Overloaded, detail).retry_after(RETRY_AFTER_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(budget: &Budget) -> usize {
        budget.0.available_permits()
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_a_moment_and_is_then_refused() {
        let budget = Budget::new(100);
        let mut first = budget.try_reserve(60).unwrap();
        assert!(budget.try_reserve(41).is_err());
        let refused = budget.reserve(41).await.unwrap_err();
        assert_eq!(refused.kind, ProblemType::Overloaded);
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.reserve(90).await }
        });
        tokio::task::yield_now().await;
        // A small request does not wait behind a large one.
        assert!(budget.try_reserve(40).is_ok());
        first.shrink(10);
        let second = waiting.await.unwrap().unwrap();
        assert_eq!(free(&budget), 0);
        first.merge(second);
        drop(first);
        assert_eq!(free(&budget), 100);
        assert!(budget.reserve(usize::MAX).await.is_err());
    }

    #[test]
    fn bytes_are_reserved_until_their_last_copy_is_dropped() {
        let budget = Budget::new(100);
        let reservation = Arc::new(budget.try_reserve(30).unwrap());
        let held = hold(Bytes::from_static(b"picture"), Arc::clone(&reservation));
        let part = held.slice(2..);
        drop((held, reservation));
        assert_eq!((free(&budget), &part[..]), (70, &b"cture"[..]));
        drop(part);
        assert_eq!(free(&budget), 100);
    }
}
