//! How far a batch has come, in numbers.

use super::{Progress, SMALLEST_RANGE, Shard};
use fovea_crds::Counts;

/// Bytes of a picture in an archive, before any archive is done.
const USUAL_BYTES: u64 = 100 * 1024;

impl Progress {
    /// Attempts that could run at once if there were a runner for each, those under way among them.
    pub(crate) fn divisible(&self) -> u32 {
        let archives = self.waiting.len() as u64;
        let waiting = match self.pictures {
            Some(_) => self.waiting_pictures.div_ceil(SMALLEST_RANGE),
            None => archives,
        };
        let all = waiting.saturating_add(u64::from(self.running()));
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    /// Pictures that have been done by attempts of this leader.
    pub(crate) fn done_here(&self) -> u64 {
        let beats = self.running.values().map(|running| &running.beat);
        let running: u64 = beats.map(|beat| beat.succeeded + beat.failed).sum();
        self.written + running
    }

    /// Pictures by their outcome, those of attempts under way among them.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = self.sums;
        for running in self.running.values() {
            counts.succeeded += running.beat.succeeded;
            counts.failed += running.beat.failed;
            counts.reused += running.beat.reused;
        }
        counts.skipped += self.skipped;
        counts.total = match self.pictures {
            Some(pictures) => pictures,
            None => counts.done(),
        };
        counts
    }

    /// Pictures that are left; with archives, estimated by bytes.
    pub(crate) fn pictures_left(&self) -> u64 {
        let counts = self.counts();
        match self.pictures {
            Some(pictures) => pictures.saturating_sub(counts.done()),
            None => self.estimated_left(),
        }
    }

    /// The share of the work that is done, in thousandths; with archives, estimated by bytes.
    pub(crate) fn permille(&self) -> u32 {
        if self.is_done() {
            return 1000;
        }
        if !self.is_measurable() {
            return 0;
        }
        let done = u128::from(self.counts().done());
        let all = done + u128::from(self.pictures_left());
        let permille = (done * 1000).checked_div(all).unwrap_or(0);
        u32::try_from(permille).unwrap_or(1000)
    }

    /// Whether more than a guess is known of what is left: of archives, once one of them is done.
    pub(crate) fn is_measurable(&self) -> bool {
        self.pictures.is_some() || self.done.values().any(|(part, _)| part.end)
    }

    /// Pictures in what is left of the archives: as many to the byte as in those that are done, or as usual.
    /// Of an archive with an attempt or a part there is at least one.
    fn estimated_left(&self) -> u64 {
        let mut open: Vec<u32> = self.waiting.keys().map(|(shard, _)| *shard).collect();
        open.extend(self.running.values().map(|running| running.range.shard));
        open.sort_unstable();
        open.dedup();
        let bytes = |shards: &mut dyn Iterator<Item = &Shard>| -> u64 {
            shards.map(|shard| shard.bytes).sum()
        };
        let all = bytes(&mut self.shards.iter());
        let left = bytes(&mut open.iter().filter_map(|shard| self.shard(*shard)));
        let is_open = |shard: &u32| open.binary_search(shard).is_ok();
        let (mut done, mut begun) = (0, 0);
        for ((shard, _), (part, _)) in &self.done {
            let pictures = part.to - part.from;
            *(if is_open(shard) {
                &mut begun
            } else {
                &mut done
            }) += pictures;
        }
        for running in self.running.values() {
            begun += running.beat.succeeded + running.beat.failed;
        }
        let per_picture = (all - left).checked_div(done).unwrap_or(USUAL_BYTES).max(1);
        let open = u64::try_from(open.len()).unwrap_or(u64::MAX);
        (left / per_picture).saturating_sub(begun).max(open)
    }

    /// Whether more than `permille` thousandths of the pictures have failed. With archives the number of
    /// pictures is known at the end, and until then a thousand of them count as a sample.
    pub(crate) fn has_failed(&self, permille: u32) -> bool {
        const SAMPLE: u64 = 1000;
        let counts = self.counts();
        let of = match self.pictures {
            Some(pictures) => pictures,
            None if self.is_done() || counts.done() >= SAMPLE => counts.done(),
            None => return false,
        };
        u128::from(counts.failed) * 1000 > u128::from(of) * u128::from(permille)
    }
}
