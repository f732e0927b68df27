//! The ranges of a batch: waiting, on runners, and done. Pure: time is an argument.
//!
//! A shard is done by parts, each of which covers a range of its pictures. A range whose runner was lost
//! is halved, so that a picture that ends its runner stands alone at last and costs only itself.

mod numbers;
mod range;

pub(crate) use range::{Range, Shard};

use fovea_crds::{Counts, Failure};
use fovea_protocol::{Progress as Beat, RowError};
use fovea_store::{PartMetadata, PartName, choose_parts};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most pictures in one attempt, as in a shard.
const LARGEST_RANGE: u64 = 1000;

/// Least pictures in one attempt, if there are more. A smaller attempt costs more than it balances.
const SMALLEST_RANGE: u64 = 100;

/// Delays after the first and every further lost runner of a range.
const AFTER_LOSS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// A picture that was alone on so many lost runners has failed.
const LOSSES_ALONE: u32 = 3;

/// Delay before an attempt after one that failed because the object store is down.
const AFTER_OUTAGE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
struct Running {
    range: Range,
    beat: Beat,
}

/// What an attempt's end means for its range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    /// A part was written, here or by another writer. `metadata` is known if it was here. `stopped`: why the
    /// range is not done to its end, unless it was told to finish.
    Part {
        part: PartName,
        metadata: Option<PartMetadata>,
        stopped: Option<Stopped>,
    },
    /// It failed at its first picture.
    Stopped(Stopped),
    /// The runner was lost.
    Lost,
    /// It did not begin.
    NotBegun,
}

/// Why an attempt did not go on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stopped {
    /// The object store is down: it is not counted.
    StoreDown,
    /// It is counted, and tried again after the delay; beyond the limit of attempts the picture has failed.
    Failed(Failure),
}

/// The ranges of a batch.
#[derive(Debug)]
pub(crate) struct Progress {
    shards: Vec<Shard>,
    waiting: BTreeMap<(u32, u64), Range>,
    /// Pictures in `waiting`, as far as they are counted.
    waiting_pictures: u64,
    running: BTreeMap<u32, Running>,
    /// By shard and first picture; without metadata until it was read.
    done: BTreeMap<(u32, u64), (PartName, Option<PartMetadata>)>,
    /// Sums over `done`.
    sums: Counts,
    last_attempt: u32,
    /// Pictures of parts that attempts have written here, not found.
    written: u64,
    skipped: u64,
    /// All pictures; `None` with archives.
    pictures: Option<u64>,
}

impl Progress {
    /// The batch with these shards of which `parts` exist; `skipped` objects were no pictures.
    pub(crate) fn new(shards: Vec<Shard>, skipped: u64, parts: Vec<PartName>) -> Self {
        let pictures = shards.iter().map(|shard| shard.pictures).sum();
        let mut this = Self {
            shards,
            pictures,
            waiting: BTreeMap::new(),
            waiting_pictures: 0,
            running: BTreeMap::new(),
            done: BTreeMap::new(),
            sums: Counts::default(),
            last_attempt: 0,
            written: 0,
            skipped,
        };
        let mut parts = choose_parts(parts).into_iter().peekable();
        for shard in 0..this.shards.len() {
            let number = u32::try_from(shard).unwrap_or(u32::MAX);
            let end = this.shards[shard].pictures;
            let mut from = 0;
            let mut is_whole = end == Some(0);
            while let Some(part) = parts.next_if(|part| part.shard == number) {
                if part.from > from {
                    this.wait(Range::new(number, from, Some(part.from)));
                }
                from = part.to;
                is_whole = part.end || end.is_some_and(|end| from >= end);
                this.done.insert((number, part.from), (part, None));
            }
            if !is_whole {
                this.wait(Range::new(number, from, end));
            }
        }
        this
    }

    fn wait(&mut self, range: Range) {
        if range.pictures() != Some(0) {
            self.waiting_pictures += range.pictures().unwrap_or(0);
            self.waiting.insert((range.shard, range.from), range);
        }
    }

    /// Takes the next range that is due, and the number of its attempt. `at_once`: shards that can run at once;
    /// `alone`: the runner has no other range of the batch.
    pub(crate) fn take(&mut self, now: Instant, at_once: u32, alone: bool) -> Option<(u32, Range)> {
        let fits = |range: &Range| range.is_ready(now) && (alone || !range.is_suspect());
        let due = self.waiting.iter().find(|(_, range)| fits(range));
        let key = *due?.0;
        let most = self.largest(at_once);
        let range = self.waiting.remove(&key)?;
        self.waiting_pictures -= range.pictures().unwrap_or(0);
        // Each attempt at an archive reads it from its beginning.
        let is_archive = self.pictures.is_none();
        let taken = match range.pictures() {
            Some(pictures) if pictures > most && !is_archive => {
                let middle = range.from + most;
                self.wait(range.part(middle, range.to));
                range.part(range.from, Some(middle))
            }
            _ => range,
        };
        self.last_attempt += 1;
        let beat = Beat {
            begun: taken.from,
            ..Beat::default()
        };
        let range = taken.clone();
        self.running
            .insert(self.last_attempt, Running { range, beat });
        Some((self.last_attempt, taken))
    }

    /// The size of the next range: what is left is shared out in about two rounds, so that the runners end
    /// at about the same time.
    fn largest(&self, at_once: u32) -> u64 {
        let rounds = u64::from(at_once.max(1)) * 2;
        let share = self.waiting_pictures.div_ceil(rounds);
        share.clamp(SMALLEST_RANGE, LARGEST_RANGE)
    }

    /// Attempts that could begin now: at least one for each range that is due.
    pub(crate) fn startable(&self, now: Instant, at_once: u32) -> u32 {
        let most = self.largest(at_once);
        let mut startable: u64 = 0;
        for range in self.waiting.values().filter(|range| range.is_ready(now)) {
            startable += range.pictures().unwrap_or(1).div_ceil(most);
            if startable >= u64::from(at_once) {
                break;
            }
        }
        u32::try_from(startable).unwrap_or(u32::MAX)
    }

    /// Records a heartbeat.
    pub(crate) fn beat(&mut self, attempt: u32, beat: Beat) {
        if let Some(running) = self.running.get_mut(&attempt) {
            running.beat = beat;
        }
    }

    /// Records the end of an attempt. `retries`: the limit of `spec.retry`; `delay_after` gives the delay after
    /// so many failed attempts.
    pub(crate) fn ended(
        &mut self,
        attempt: u32,
        ended: Ended,
        now: Instant,
        (retries, delay_after): (u32, impl Fn(u32) -> Duration),
    ) {
        let Some(Running { range, beat }) = self.running.remove(&attempt) else {
            return;
        };
        match ended {
            Ended::NotBegun => self.wait(range),
            Ended::Lost => self.lost(range, beat, now),
            Ended::Stopped(stopped) => self.stopped(range, stopped, now, (retries, &delay_after)),
            Ended::Part {
                part,
                metadata,
                stopped,
            } => {
                let end = self.shard(part.shard).and_then(|shard| shard.pictures);
                let is_end = part.end || end.is_some_and(|end| part.to >= end);
                let is_whole = is_end || range.to.is_some_and(|to| part.to >= to);
                self.written += metadata.as_ref().map_or(0, |it| it.succeeded + it.failed);
                self.add(part, metadata);
                if is_whole {
                    return;
                }
                let mut rest = Range::new(range.shard, part.to, range.to);
                rest.losses = range.losses;
                match stopped {
                    Some(stopped) => self.stopped(rest, stopped, now, (retries, &delay_after)),
                    None => self.wait(rest),
                }
            }
        }
    }

    fn stopped(
        &mut self,
        mut range: Range,
        stopped: Stopped,
        now: Instant,
        (retries, delay_after): (u32, &impl Fn(u32) -> Duration),
    ) {
        let failure = match stopped {
            Stopped::StoreDown => {
                range.not_before = Some(now + AFTER_OUTAGE);
                return self.wait(range);
            }
            Stopped::Failed(failure) => failure,
        };
        range.attempts += 1;
        if failure.retryable && range.attempts <= retries {
            range.not_before = Some(now + delay_after(range.attempts));
            return self.wait(range);
        }
        self.fail_first(&range, &failure.reason, &failure.message);
    }

    fn lost(&mut self, mut range: Range, beat: Beat, now: Instant) {
        let delay = AFTER_LOSS[(range.losses as usize).min(AFTER_LOSS.len() - 1)];
        let was_suspect = range.is_suspect();
        range.losses += 1;
        range.not_before = Some(now + delay);
        let middle = match range.pictures() {
            Some(0 | 1) => {
                range.losses_alone += u32::from(was_suspect);
                if range.losses_alone >= LOSSES_ALONE {
                    let message = format!(
                        "{LOSSES_ALONE} runners were lost while they had only this picture of the batch"
                    );
                    return self.fail_first(&range, "RunnerLost", &message);
                }
                return self.wait(range);
            }
            Some(pictures) => range.from + pictures / 2,
            // Where it was in the archive is all that is known.
            None => beat.begun.max(range.from + 1),
        };
        self.wait(range.part(range.from, Some(middle)));
        self.wait(range.part(middle, range.to));
    }

    /// The first picture of the range, or its archive, has failed for good.
    fn fail_first(&mut self, range: &Range, reason: &str, message: &str) {
        let to = range.to.map(|_| range.from + 1);
        let error = Some(RowError {
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
        let failed = Range {
            error,
            ..Range::new(range.shard, range.from, to)
        };
        self.wait(failed);
        if let (Some(from), Some(end)) = (to, range.to) {
            self.wait(Range::new(range.shard, from, Some(end)));
        }
    }

    fn shard(&self, number: u32) -> Option<&Shard> {
        self.shards.get(number as usize)
    }

    fn add(&mut self, part: PartName, metadata: Option<PartMetadata>) {
        self.done.insert((part.shard, part.from), (part, None));
        if let Some(metadata) = metadata {
            self.describe(part, metadata);
        }
    }

    /// Records what a part says of itself.
    pub(crate) fn describe(&mut self, part: PartName, metadata: PartMetadata) {
        if let Some((_, known)) = self.done.get_mut(&(part.shard, part.from))
            && known.is_none()
        {
            self.sums.succeeded += metadata.succeeded;
            self.sums.failed += metadata.failed;
            self.sums.skipped += metadata.skipped;
            self.sums.reused += metadata.reused;
            *known = Some(metadata);
        }
    }

    /// A part that was counted is not there: its range is done again.
    pub(crate) fn missing(&mut self, part: PartName) {
        if self.done.remove(&(part.shard, part.from)).is_some() {
            let archive = self
                .shard(part.shard)
                .is_some_and(|shard| shard.pictures.is_none());
            let to = if archive && part.end {
                None
            } else {
                Some(part.to)
            };
            self.wait(Range::new(part.shard, part.from, to));
        }
    }

    /// Parts of which nothing but the name is known, at most `most` of them.
    pub(crate) fn undescribed(&self, most: usize) -> Vec<PartName> {
        let done = self.done.values();
        let undescribed = done.filter(|(_, metadata)| metadata.is_none());
        undescribed.map(|(part, _)| *part).take(most).collect()
    }

    /// Whether every picture has its row.
    pub(crate) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// The parts and what they say of themselves, in order, as far as that is known.
    pub(crate) fn parts(&self) -> Vec<(PartName, PartMetadata)> {
        let described =
            |(part, metadata): &(PartName, Option<PartMetadata>)| Some((*part, metadata.clone()?));
        self.done.values().filter_map(described).collect()
    }

    /// Nothing more is done: what is waiting or under way gets no row.
    pub(crate) fn stop(&mut self) {
        for running in std::mem::take(&mut self.running).into_values() {
            self.wait(running.range);
        }
    }

    pub(crate) fn has_parts(&self) -> bool {
        !self.done.is_empty()
    }

    pub(crate) fn running(&self) -> u32 {
        u32::try_from(self.running.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
