//! Room for pictures that wait for the device. Shards have room of their own, each for itself: they
//! have more pictures than any queue could hold, and single jobs must not wait outside for them.

use crate::batcher::Class;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Upper bound on a shard's waiting pictures, of any size.
const MAX_SHARD_PICTURES: u32 = 512;

#[derive(Debug)]
pub(super) struct Room {
    singles: Arc<Semaphore>,
    /// The room of each shard that has pictures waiting, in pixels.
    shards: Mutex<HashMap<u64, Weak<Semaphore>>>,
    shard_pixels: u32,
}

/// A place in the queue, free again when dropped.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held")] Option<OwnedSemaphorePermit>);

impl Room {
    /// Room for `singles` pictures of single jobs, and for `shard_pixels` pixels of each shard: as many as
    /// fit into a pass, so that the next pass is complete when one ends.
    pub(super) fn new(singles: usize, shard_pixels: u64) -> Self {
        Self {
            singles: Arc::new(Semaphore::new(singles)),
            shards: Mutex::default(),
            shard_pixels: (u32::try_from(shard_pixels).unwrap_or(u32::MAX)).max(MAX_SHARD_PICTURES),
        }
    }

    /// Waits for a place for one picture.
    pub(super) async fn enter(&self, class: Class, pixels: u64) -> Place {
        let (room, permits) = match class {
            Class::Single => (Arc::clone(&self.singles), 1),
            Class::Shard(shard) => (self.of_shard(shard), self.permits(pixels)),
        };
        // The semaphores are never closed.
        Place(room.acquire_many_owned(permits).await.ok())
    }

    /// The permits of a shard's picture: its pixels. A small picture counts as more, which bounds their
    /// number; one above the bound waits until it is alone.
    fn permits(&self, pixels: u64) -> u32 {
        let least = self.shard_pixels.div_ceil(MAX_SHARD_PICTURES);
        (u32::try_from(pixels).unwrap_or(u32::MAX)).clamp(least, self.shard_pixels)
    }

    fn of_shard(&self, shard: u64) -> Arc<Semaphore> {
        let mut shards = (self.shards.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = shards.get(&shard).and_then(Weak::upgrade) {
            return room;
        }
        shards.retain(|_, room| room.strong_count() > 0);
        let room = Arc::new(Semaphore::new(self.shard_pixels as usize));
        shards.insert(shard, Arc::downgrade(&room));
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn a_shard_that_has_filled_its_room_delays_no_one_else() {
        let room = Room::new(1, 100 * 1000);
        let enter = |class, pixels| room.enter(class, pixels).now_or_never();
        let mut held: Vec<_> = (0..100)
            .map(|_| enter(Class::Shard(1), 1000).unwrap())
            .collect();
        assert!(enter(Class::Shard(1), 1000).is_none());
        let _other = enter(Class::Shard(2), 1000).unwrap();
        let single = enter(Class::Single, 1000).unwrap();
        assert!(enter(Class::Single, 1000).is_none());
        held.pop();
        let _again = enter(Class::Shard(1), 1000).unwrap();
        drop(single);
        enter(Class::Single, 1000).unwrap();
    }

    #[test]
    fn a_picture_larger_than_the_room_has_it_alone_and_small_ones_are_bounded_in_number() {
        let room = Room::new(1, 100 * 1000);
        let enter = |pixels| room.enter(Class::Shard(1), pixels).now_or_never();
        let large = enter(u64::MAX).unwrap();
        assert!(enter(0).is_none());
        drop(large);
        let small: Vec<_> = std::iter::from_fn(|| enter(0)).collect();
        assert_eq!(small.len(), 510);
        drop(small);
        assert_eq!(room.shards.lock().unwrap().len(), 1);
        let _other = room.enter(Class::Shard(2), 1).now_or_never().unwrap();
        assert_eq!(room.shards.lock().unwrap().len(), 1);
    }
}
