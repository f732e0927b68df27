//! Threads and memory for decoding, in two lanes, so that small pictures never wait for large ones.

use super::memory::{MemoryBudget, Reservation};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The part of the memory that is kept for small pictures: one in so many.
const SMALL_SHARE: u64 = 4;

/// So many of the largest small pictures fit into that memory at once.
const SMALL_AT_ONCE: u64 = 2;

/// Decoders for pictures of one kind.
struct Lane {
    memory: MemoryBudget,
    threads: Arc<Semaphore>,
    /// Bounds the pictures of shards that wait for a thread: single jobs wait for the same.
    shard_turns: Arc<Semaphore>,
}

/// A thread and memory to decode one picture, until it is dropped.
pub(super) struct Turn {
    _memory: Reservation,
    _thread: OwnedSemaphorePermit,
    _shard: Option<OwnedSemaphorePermit>,
    /// Whether the picture is in the lane of the large ones.
    pub(super) is_large: bool,
}

/// Decoders of all pictures: which lane a picture takes depends on the memory that its header asks for.
pub(super) struct Decoders {
    small: Lane,
    large: Lane,
    /// Most memory of a picture in the lane of the small ones.
    most_small_bytes: u64,
}

impl Lane {
    fn new(bytes: u64, threads: usize) -> Self {
        Self {
            memory: MemoryBudget::new(bytes),
            threads: Arc::new(Semaphore::new(threads)),
            shard_turns: Arc::new(Semaphore::new(threads)),
        }
    }
}

impl Decoders {
    /// `bytes`: memory of both lanes. `threads`: pictures of each lane at once; with several threads, large ones
    /// have a quarter less.
    pub(super) fn new(bytes: u64, threads: usize) -> Self {
        let small_bytes = bytes / SMALL_SHARE;
        Self {
            small: Lane::new(small_bytes, threads),
            large: Lane::new(bytes - small_bytes, threads - threads / 4),
            most_small_bytes: small_bytes / SMALL_AT_ONCE,
        }
    }

    /// Most memory that a picture may take.
    pub(super) fn most_bytes(&self) -> u64 {
        self.large.memory.total_bytes
    }

    /// Memory that is not reserved.
    pub(super) fn free_bytes(&self) -> u64 {
        self.small.memory.free_bytes() + self.large.memory.free_bytes()
    }

    /// Waits for memory and a thread, in order of arrival within the lane; `None` if the picture needs more than
    /// [`Self::most_bytes`].
    pub(super) async fn turn(&self, bytes: u64, is_of_shard: bool) -> Option<Turn> {
        let is_large = bytes > self.most_small_bytes;
        let lane = if is_large { &self.large } else { &self.small };
        // The semaphores are never closed.
        let acquire = |of: &Arc<Semaphore>| Arc::clone(of).acquire_owned();
        let shard = if is_of_shard {
            Some(acquire(&lane.shard_turns).await.ok()?)
        } else {
            None
        };
        Some(Turn {
            _memory: lane.memory.take(bytes).await?,
            _thread: acquire(&lane.threads).await.ok()?,
            _shard: shard,
            is_large,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    const MIB: u64 = 1 << 20;

    /// 256 MiB for small pictures of at most 128 MiB, and 768 MiB for large ones.
    fn decoders(threads: usize) -> Decoders {
        Decoders::new(1024 * MIB, threads)
    }

    fn taken(decoders: &Decoders) -> u64 {
        1024 * MIB - decoders.free_bytes()
    }

    #[test]
    fn small_pictures_do_not_wait_for_large_ones() {
        for threads in 1..9 {
            let decoders = decoders(threads);
            let now = |bytes| decoders.turn(bytes, false).now_or_never();
            let large: Vec<_> = (0..10).map_while(|_| now(300 * MIB)).collect();
            assert!((1..=threads.min(2)).contains(&large.len()), "{threads}");
            // The next large one waits, and would hold up everything that comes after it in its lane.
            let mut waiting = Box::pin(decoders.turn(300 * MIB, false));
            assert!(waiting.as_mut().now_or_never().is_none());
            let small: Vec<_> = (0..threads).map_while(|_| now(MIB)).collect();
            assert_eq!(small.len(), threads);
        }
    }

    #[test]
    fn a_shard_s_large_picture_holds_up_neither_its_small_ones_nor_single_jobs() {
        let decoders = decoders(2);
        let now = |bytes, is_of_shard| decoders.turn(bytes, is_of_shard).now_or_never();
        let large: Vec<_> = (0..10).map_while(|_| now(300 * MIB, true)).collect();
        assert_eq!(large.len(), 2);
        assert!(now(MIB, true).is_some() && now(MIB, false).is_some());
    }

    #[tokio::test]
    async fn ten_large_pictures_at_once_take_turns_within_the_memory() {
        let decoders = decoders(8);
        let most = std::sync::atomic::AtomicU64::new(0);
        let one = async || {
            let turn = decoders.turn(decoders.most_bytes() / 2, false).await;
            let now = taken(&decoders);
            most.fetch_max(now, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
            drop(turn);
        };
        futures::future::join_all((0..10).map(|_| one())).await;
        assert_eq!(most.into_inner(), 768 * MIB);
        assert_eq!(taken(&decoders), 0);
        assert!(decoders.turn(769 * MIB, false).await.is_none());
    }
}
