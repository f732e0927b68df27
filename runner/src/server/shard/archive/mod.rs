//! An archive as a shard: its pictures are read by one streaming GET, and run like a shard's others.

mod object;
mod read;
mod sample;
mod tar;
#[cfg(test)]
mod tar_tests;

use super::attempt::Shard;
use super::item;
use super::pictures::{Collected, MAX_BEGUN, outcome};
use super::rows::Rows;
use fovea_protocol::{Problem, Row};
use read::{Event, read};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument as _;

/// Upper bound on members that are read but not begun.
const EVENTS_BOUND: usize = 1;

/// Runs the pictures of the archive's range, and returns the rows of those that are done without a gap.
pub(super) async fn collect(shard: &Arc<Shard>) -> Result<Collected, Problem> {
    let (sender, mut events) = mpsc::channel(EVENTS_BOUND);
    let mut reading = std::pin::pin!(read(shard, sender));
    let mut reads = true;
    let mut tasks = JoinSet::new();
    let mut samples = Samples::new(shard.request.from);
    loop {
        tokio::select! {
            biased;
            Some(finished) = tasks.join_next() => {
                if let Some((index, row)) = outcome(finished)? {
                    samples.done(index, row);
                }
            }
            Some(event) = events.recv(), if tasks.len() < MAX_BEGUN => match event {
                Event::Picture(picture) => {
                    let shard = Arc::clone(shard);
                    let task = async move { (picture.index, picture.run(&shard).await) };
                    tasks.spawn(task.in_current_span());
                }
                Event::Row(index, row) => samples.done(index, *row),
                Event::Sample { to, meta } => samples.end(to, meta),
                Event::Skipped { at } => samples.skip(at),
                Event::End => samples.has_ended = true,
            },
            ended = &mut reading, if reads => {
                reads = false;
                ended?;
            }
            else => break,
        }
        for failed in samples.counted.drain(..) {
            shard.progress.end(failed);
        }
        if samples.rows.full() {
            shard.stop.stop(None);
        }
    }
    Ok(samples.finish(shard.request.from))
}

impl read::Picture {
    async fn run(self, shard: &Shard) -> Result<Row, item::Unfinished> {
        let Self {
            index,
            row,
            bytes,
            memory,
            query,
        } = self;
        item::run(shard, index, row, bytes, memory, query).await
    }
}

/// The rows of an archive. A row waits until its sample ends: what belongs to it may follow it.
struct Samples {
    rows: Rows,
    /// Index after the last picture whose sample has ended.
    ended: u64,
    /// Rows whose sample has not ended.
    waiting: BTreeMap<u64, Row>,
    /// What belongs to pictures that are not done.
    metas: BTreeMap<u64, Arc<BTreeMap<String, Value>>>,
    /// Members that are no pictures, by the index of the picture that follows.
    skipped: BTreeMap<u64, u64>,
    /// Rows since the last look: whether each is one of a failed picture.
    counted: Vec<bool>,
    has_ended: bool,
}

impl Samples {
    fn new(from: u64) -> Self {
        Self {
            rows: Rows::new(from),
            ended: from,
            waiting: BTreeMap::new(),
            metas: BTreeMap::new(),
            skipped: BTreeMap::new(),
            counted: Vec::new(),
            has_ended: false,
        }
    }

    fn done(&mut self, index: u64, row: Row) {
        if index < self.ended {
            let meta = self.metas.remove(&index);
            self.insert(index, row, meta.as_deref());
        } else {
            self.waiting.insert(index, row);
        }
    }

    /// The sample of all pictures before `to` that have none yet has ended.
    fn end(&mut self, to: u64, meta: BTreeMap<String, Value>) {
        let meta = Arc::new(meta);
        for index in self.ended..to {
            if let Some(row) = self.waiting.remove(&index) {
                self.insert(index, row, Some(&meta));
            } else if !meta.is_empty() {
                self.metas.insert(index, Arc::clone(&meta));
            }
        }
        self.ended = self.ended.max(to);
    }

    fn insert(&mut self, index: u64, mut row: Row, meta: Option<&BTreeMap<String, Value>>) {
        row.meta = meta.cloned().unwrap_or_default();
        self.counted.push(self.rows.insert(index, row));
    }

    fn skip(&mut self, at: u64) {
        *self.skipped.entry(at).or_default() += 1;
    }

    fn finish(self, from: u64) -> Collected {
        let rows = self.rows.into_prefix();
        let to = rows.to;
        // The archive's end belongs to the part that has all before it.
        let end = self.has_ended && self.ended <= to;
        let in_part = |at: u64| at >= from && (at < to || end);
        let skipped = self.skipped.iter().filter(|(at, _)| in_part(**at));
        let skipped = skipped.map(|(_, count)| count).sum();
        Collected { rows, end, skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_takes_along_what_comes_before_and_after_it_in_its_sample() {
        let mut samples = Samples::new(0);
        let row = |key| item::blank(key, None);
        let meta = |n: u64| BTreeMap::from([("json".to_owned(), json!(n))]);
        samples.skip(0);
        samples.done(0, row("a"));
        samples.end(2, meta(1));
        samples.skip(2);
        samples.done(2, row("c"));
        samples.done(1, row("b"));
        samples.skip(3);
        let collected = samples.finish(0);
        assert_eq!(
            (collected.rows.to, collected.skipped, collected.end),
            (2, 1, false)
        );
        let text = String::from_utf8(collected.rows.jsonl).unwrap();
        assert_eq!(text.matches(r#""meta":{"json":1}"#).count(), 2);

        let mut samples = Samples::new(2);
        samples.skip(2);
        samples.done(2, row("c"));
        samples.end(3, BTreeMap::new());
        samples.skip(3);
        samples.has_ended = true;
        let collected = samples.finish(2);
        assert_eq!(
            (collected.rows.to, collected.skipped, collected.end),
            (3, 2, true)
        );
    }
}
