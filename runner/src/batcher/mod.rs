//! Chooses which waiting pictures go to the device together.
//!
//! Batches are pulled, not timed: a free device takes what is waiting, since waiting for more would
//! only idle it. Models take turns, the least recently served first. A model's pictures run in
//! order of arrival, and the first one takes along all that can share its pass.

use crate::inference::BatchKey;
use std::collections::{HashMap, VecDeque};

/// Pictures of equal groups can share a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Index of the model on the engine's thread.
    pub model: usize,
    pub key: BatchKey,
    /// Must run in a pass of its own.
    pub exclusive: bool,
}

pub trait Waiting {
    /// The group; pictures of equal groups can share a pass.
    fn group(&self) -> Group;

    /// Pixels of the model's input, which its memory on the device grows with.
    fn pixels(&self) -> u64;

    /// Whether its request has been cancelled.
    fn dropped(&self) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Upper bound on pictures, at least 1.
    pub pictures: usize,
    /// Most pixels of input, all pictures together; one picture alone may have more.
    pub pixels: u64,
}

/// The queue of pictures waiting for the device.
#[derive(Debug)]
pub struct Batcher<W> {
    waiting: VecDeque<W>,
    /// The turn in which each model last had the device.
    last_turns: HashMap<usize, u64>,
    turns: u64,
}

impl<W> Default for Batcher<W> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            last_turns: HashMap::new(),
            turns: 0,
        }
    }
}

impl<W: Waiting> Batcher<W> {
    pub fn push(&mut self, work: W) {
        self.waiting.push_back(work);
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the next batch, within its model's `limits`; `None` if no picture waits. Discards
    /// cancelled pictures.
    pub fn next_batch(&mut self, limits: impl Fn(usize) -> BatchLimits) -> Option<Vec<W>> {
        self.waiting.retain(|work| !work.dropped());
        // `min_by_key` returns the first of equals, which arrived first.
        let first = (0..self.waiting.len())
            .min_by_key(|&i| self.last_turns.get(&self.waiting[i].group().model).copied())?;
        let first = self.waiting.remove(first)?;
        let group = first.group();
        self.turns += 1;
        self.last_turns.insert(group.model, self.turns);

        let limits = limits(group.model);
        let mut pixels = first.pixels();
        let mut batch = vec![first];
        let mut i = 0;
        while !group.exclusive && batch.len() < limits.pictures && i < self.waiting.len() {
            let more = pixels + self.waiting[i].pixels();
            if self.waiting[i].group() == group && more <= limits.pixels {
                batch.extend(self.waiting.remove(i));
                pixels = more;
            } else {
                i += 1;
            }
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Picture {
        id: u32,
        group: Group,
        dropped: bool,
    }

    impl Waiting for Picture {
        fn group(&self) -> Group {
            self.group
        }

        fn pixels(&self) -> u64 {
            10
        }

        fn dropped(&self) -> bool {
            self.dropped
        }
    }

    fn picture(id: u32, model: usize, tokens: usize) -> Picture {
        let key = BatchKey {
            tokens,
            ..BatchKey::default()
        };
        Picture {
            id,
            group: Group {
                model,
                key,
                exclusive: false,
            },
            dropped: false,
        }
    }

    /// The ids of every batch until nothing waits.
    fn batches(pictures: Vec<Picture>, pictures_limit: usize, pixels: u64) -> Vec<Vec<u32>> {
        let mut batcher = Batcher::default();
        for picture in pictures {
            batcher.push(picture);
        }
        let limits = BatchLimits {
            pictures: pictures_limit,
            pixels,
        };
        std::iter::from_fn(|| batcher.next_batch(|_| limits))
            .map(|batch| batch.iter().map(|picture| picture.id).collect())
            .collect()
    }

    #[test]
    fn what_fits_the_first_goes_with_it_and_the_rest_keeps_its_order() {
        let pictures = vec![
            picture(1, 0, 1),
            picture(2, 0, 3),
            picture(3, 0, 1),
            picture(4, 0, 3),
        ];
        assert_eq!(batches(pictures, 8, 1000), [vec![1, 3], vec![2, 4]]);
    }

    #[test]
    fn models_take_turns_however_many_pictures_wait_for_one() {
        let mut pictures: Vec<_> = (1..=5).map(|id| picture(id, 0, 1)).collect();
        pictures.push(picture(6, 1, 1));
        pictures.push(picture(7, 2, 1));
        pictures.push(picture(8, 1, 2));
        assert_eq!(
            batches(pictures, 2, 1000),
            [vec![1, 2], vec![6], vec![7], vec![3, 4], vec![8], vec![5]]
        );
    }

    #[test]
    fn a_batch_has_its_bounds_in_pictures_and_in_pixels() {
        let pictures: Vec<_> = (1..=5).map(|id| picture(id, 0, 1)).collect();
        let by_number = [vec![1, 2], vec![3, 4], vec![5]];
        assert_eq!(batches(pictures.clone(), 2, 1000), by_number);
        let by_pixels = [vec![1, 2, 3], vec![4, 5]];
        assert_eq!(batches(pictures.clone(), 8, 30), by_pixels);
        let one_alone_may_have_more = [[1], [2], [3], [4], [5]];
        assert_eq!(batches(pictures, 8, 5), one_alone_may_have_more);
    }

    #[test]
    fn an_exclusive_picture_runs_alone() {
        let mut pictures: Vec<_> = (1..=3).map(|id| picture(id, 0, 1)).collect();
        pictures[1].group.exclusive = true;
        assert_eq!(batches(pictures, 8, 1000), [vec![1, 3], vec![2]]);
    }

    #[test]
    fn cancelled_pictures_are_not_run() {
        let mut pictures: Vec<_> = (1..=3).map(|id| picture(id, 0, 1)).collect();
        pictures[0].dropped = true;
        assert_eq!(batches(pictures, 8, 1000), [vec![2, 3]]);
    }
}
