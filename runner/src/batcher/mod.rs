//! Chooses which waiting pictures go to the device together.
//!
//! Batches are pulled, not timed: a free device takes what is waiting, since waiting for more would
//! only idle it. (Of shards, more are on their way: the engine waits for them as long as they keep coming.)
//! Single jobs go before the pictures of shards, except that while pictures of shards
//! wait, at least every fourth pass begins with one of them. The first picture takes along all that can
//! share its pass: first those of its own kind, then those of the other. Among pictures of a kind, models
//! take turns, the least recently served first, then shards; after that, the order of arrival counts.

mod lane;

use crate::inference::BatchKey;
use lane::Lane;

/// Upper bound on passes in a row that begin with a single job while pictures of shards wait.
const MAX_SINGLE_PASSES: u32 = 3;

/// Pictures of equal groups can share a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Index of the model on the engine's thread.
    pub model: usize,
    pub key: BatchKey,
    /// Must run in a pass of its own.
    pub exclusive: bool,
}

/// What a picture belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A job of one picture.
    Single,
    /// An attempt at a shard of a batch, by a number that no other attempt of this process has.
    Shard(u64),
}

pub trait Waiting {
    fn class(&self) -> Class;

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
    singles: Lane<W>,
    shards: Lane<W>,
    /// Passes since the last one that began with a picture of a shard, while others of shards waited.
    single_passes: u32,
}

impl<W> Default for Batcher<W> {
    fn default() -> Self {
        Self {
            singles: Lane::default(),
            shards: Lane::default(),
            single_passes: 0,
        }
    }
}

impl<W: Waiting> Batcher<W> {
    pub fn push(&mut self, work: W) {
        match work.class() {
            Class::Single => self.singles.push(work),
            Class::Shard(_) => self.shards.push(work),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.singles.is_empty() && self.shards.is_empty()
    }

    /// Whether the next batch would be one of shards alone, and not full.
    pub fn should_gather(&self, limits: impl Fn(usize) -> BatchLimits) -> bool {
        let Some(first) = self.shards.first() else {
            return false;
        };
        let Group {
            model, exclusive, ..
        } = first.group();
        let limits = limits(model);
        // Further pictures of the same size at least fit.
        let room = (limits.pixels / first.pixels().max(1)).max(1);
        let wanted = limits
            .pictures
            .min(usize::try_from(room).unwrap_or(usize::MAX));
        self.singles.is_empty() && !exclusive && self.shards.len() < wanted
    }

    /// Takes the next batch, within its model's `limits`; `None` if no picture waits. Discards
    /// cancelled pictures.
    pub fn next_batch(&mut self, limits: impl Fn(usize) -> BatchLimits) -> Option<Vec<W>> {
        self.singles.discard_dropped();
        self.shards.discard_dropped();
        if self.is_empty() {
            return None;
        }
        let shards_first = !self.shards.is_empty()
            && (self.singles.is_empty() || self.single_passes == MAX_SINGLE_PASSES);
        let passed_over = !shards_first && !self.shards.is_empty();
        self.single_passes = if passed_over {
            self.single_passes + 1
        } else {
            0
        };
        let (mut first, mut second) = (&mut self.singles, &mut self.shards);
        if shards_first {
            std::mem::swap(&mut first, &mut second);
        }
        let lead = first.take_first()?;
        let limits = limits(lead.group().model);
        let mut batch = Batch::new(lead, limits);
        first.fill(&mut batch);
        second.fill(&mut batch);
        Some(batch.pictures)
    }
}

/// The pictures of the next pass.
struct Batch<W> {
    group: Group,
    limits: BatchLimits,
    pictures: Vec<W>,
    pixels: u64,
}

impl<W: Waiting> Batch<W> {
    fn new(first: W, limits: BatchLimits) -> Self {
        Self {
            group: first.group(),
            limits,
            pixels: first.pixels(),
            pictures: vec![first],
        }
    }

    fn is_full(&self) -> bool {
        self.group.exclusive || self.pictures.len() >= self.limits.pictures
    }

    /// Whether `work` can share the pass.
    fn fits(&self, work: &W) -> bool {
        work.group() == self.group && self.pixels + work.pixels() <= self.limits.pixels
    }

    fn add(&mut self, work: W) {
        self.pixels += work.pixels();
        self.pictures.push(work);
    }
}

#[cfg(test)]
mod tests;
