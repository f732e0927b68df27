//! Waiting pictures of one kind: of single jobs, or of shards. Models take turns, and shards do.

use super::{Batch, Class, Waiting};
use std::collections::{HashMap, VecDeque};

/// The pictures of all senders: of one sender for all single jobs, or of one for each shard.
#[derive(Debug)]
pub(super) struct Lane<W> {
    /// In the order of their turns, the least recently served first. Each has pictures.
    senders: VecDeque<Sender<W>>,
    /// The turn in which each model last began a pass.
    last_turns: HashMap<usize, u64>,
    turns: u64,
}

/// Pictures in order of arrival.
#[derive(Debug)]
struct Sender<W> {
    class: Class,
    waiting: VecDeque<W>,
}

impl<W> Default for Lane<W> {
    fn default() -> Self {
        Self {
            senders: VecDeque::new(),
            last_turns: HashMap::new(),
            turns: 0,
        }
    }
}

impl<W: Waiting> Lane<W> {
    pub(super) fn push(&mut self, work: W) {
        let class = work.class();
        let sender = (self.senders.iter_mut()).find(|sender| sender.class == class);
        match sender {
            Some(sender) => sender.waiting.push_back(work),
            None => self.senders.push_back(Sender {
                class,
                waiting: VecDeque::from([work]),
            }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        let waiting = self.senders.iter().map(|sender| sender.waiting.len());
        waiting.sum()
    }

    pub(super) fn first(&self) -> Option<&W> {
        self.senders.front()?.waiting.front()
    }

    /// Discards cancelled pictures.
    pub(super) fn discard_dropped(&mut self) {
        for sender in &mut self.senders {
            sender.waiting.retain(|work| !work.dropped());
        }
        self.senders.retain(|sender| !sender.waiting.is_empty());
    }

    /// Takes the picture that begins a pass: of the model whose turn it is, of the first sender that has
    /// one, the first that arrived.
    pub(super) fn take_first(&mut self) -> Option<W> {
        // `min_by_key` returns the first of equals.
        let (sender, place, model) = (self.senders.iter().enumerate())
            .flat_map(|(i, sender)| {
                let waiting = sender.waiting.iter().enumerate();
                waiting.map(move |(place, work)| (i, place, work.group().model))
            })
            .min_by_key(|(.., model)| self.last_turns.get(model).copied())?;
        self.turns += 1;
        self.last_turns.insert(model, self.turns);
        self.take(sender, place)
    }

    /// Moves pictures to `batch` while it has room, one of each sender in turn.
    pub(super) fn fill(&mut self, batch: &mut Batch<W>) {
        while !batch.is_full() {
            let next = (self.senders.iter().enumerate()).find_map(|(i, sender)| {
                let place = (sender.waiting.iter()).position(|work| batch.fits(work))?;
                Some((i, place))
            });
            let Some(work) = next.and_then(|(sender, place)| self.take(sender, place)) else {
                return;
            };
            batch.add(work);
        }
    }

    /// Takes a sender's picture at `place`; the sender's next turn comes after all others'. Those that
    /// are passed over keep their places.
    fn take(&mut self, sender: usize, place: usize) -> Option<W> {
        let mut sender = self.senders.remove(sender)?;
        let work = sender.waiting.remove(place);
        if !sender.waiting.is_empty() {
            self.senders.push_back(sender);
        }
        work
    }
}
