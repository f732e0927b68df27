//! Which of the waiting pictures go to the device together.
//!
//! Batches are pulled, not timed: when the device is free, what is there goes, first come first
//! served. Waiting for more would only idle it.

use crate::models::BatchKey;
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// What decides whether pictures can share a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Index of the model.
    pub model: usize,
    /// What else must be the same.
    pub key: BatchKey,
    /// To run alone.
    pub exclusive: bool,
}

/// A picture in the queue.
pub trait Waiting {
    /// With which others it can share a pass.
    fn group(&self) -> Group;

    /// Whether nobody waits for it any more.
    fn dropped(&self) -> bool;
}

/// The engine's end of the queue. Its bound is the channel's, twice: what is in the channel, and
/// what was pulled from it and is not of the present batch.
#[derive(Debug)]
pub struct Batcher<W> {
    receiver: mpsc::Receiver<W>,
    waiting: VecDeque<W>,
    max_batch_size: usize,
}

impl<W: Waiting> Batcher<W> {
    /// Pulls from `receiver`.
    pub fn new(receiver: mpsc::Receiver<W>, max_batch_size: usize) -> Self {
        Self {
            receiver,
            waiting: VecDeque::new(),
            max_batch_size,
        }
    }

    /// The next batch, never empty; blocks until there is one. `None` when no more can come.
    pub fn next_batch(&mut self) -> Option<Vec<W>> {
        loop {
            if self.waiting.is_empty() {
                self.waiting.push_back(self.receiver.blocking_recv()?);
            }
            while self.waiting.len() < self.receiver.max_capacity() {
                let Ok(work) = self.receiver.try_recv() else {
                    break;
                };
                self.waiting.push_back(work);
            }
            let batch = take_batch(&mut self.waiting, self.max_batch_size);
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }
}

/// Takes the first of `waiting` and what can go with it, in order; drops what nobody waits for.
fn take_batch<W: Waiting>(waiting: &mut VecDeque<W>, max_batch_size: usize) -> Vec<W> {
    waiting.retain(|work| !work.dropped());
    let Some(first) = waiting.pop_front() else {
        return Vec::new();
    };
    let group = first.group();
    let mut batch = vec![first];
    let mut i = 0;
    while !group.exclusive && batch.len() < max_batch_size && i < waiting.len() {
        if waiting[i].group() == group {
            batch.extend(waiting.remove(i));
        } else {
            i += 1;
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Picture(u32, Group, bool);

    impl Waiting for Picture {
        fn group(&self) -> Group {
            self.1
        }

        fn dropped(&self) -> bool {
            self.2
        }
    }

    fn picture(id: u32, model: usize, tokens: usize) -> Picture {
        let exclusive = false;
        let key = BatchKey {
            tokens,
            ..BatchKey::default()
        };
        Picture(
            id,
            Group {
                model,
                key,
                exclusive,
            },
            false,
        )
    }

    /// The ids of every batch until the queue is empty.
    fn batches(pictures: Vec<Picture>, max_batch_size: usize) -> Vec<Vec<u32>> {
        let mut waiting = VecDeque::from(pictures);
        std::iter::from_fn(|| {
            let batch = take_batch(&mut waiting, max_batch_size);
            (!batch.is_empty()).then(|| batch.iter().map(|picture| picture.0).collect())
        })
        .collect()
    }

    #[test]
    fn what_fits_the_first_goes_with_it_and_the_rest_keeps_its_order() {
        let pictures = vec![
            picture(1, 0, 1),
            picture(2, 0, 3),
            picture(3, 0, 1),
            picture(4, 1, 1),
            picture(5, 0, 3),
        ];
        assert_eq!(batches(pictures, 8), [vec![1, 3], vec![2, 5], vec![4]]);
    }

    #[test]
    fn a_batch_has_its_bound() {
        let pictures = (1..=5).map(|id| picture(id, 0, 1)).collect();
        assert_eq!(batches(pictures, 2), [vec![1, 2], vec![3, 4], vec![5]]);
    }

    #[test]
    fn an_exclusive_picture_runs_alone() {
        let mut pictures: Vec<_> = (1..=3).map(|id| picture(id, 0, 1)).collect();
        pictures[1].1.exclusive = true;
        assert_eq!(batches(pictures, 8), [vec![1, 3], vec![2]]);
    }

    #[test]
    fn what_nobody_waits_for_is_not_run() {
        let mut pictures: Vec<_> = (1..=3).map(|id| picture(id, 0, 1)).collect();
        pictures[0].2 = true;
        assert_eq!(batches(pictures, 8), [vec![2, 3]]);
    }

    #[test]
    fn the_queue_ends_with_its_senders() {
        let (sender, receiver) = mpsc::channel(4);
        let mut batcher = Batcher::new(receiver, 8);
        sender.try_send(picture(1, 0, 1)).unwrap();
        drop(sender);
        assert_eq!(batcher.next_batch().unwrap().len(), 1);
        assert!(batcher.next_batch().is_none());
    }
}
