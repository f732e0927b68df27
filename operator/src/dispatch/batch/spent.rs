//! What attempts at shards cost.

use crate::dispatch::costs::Cost;
use fovea_protocol::Part;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Time of a runner that an attempt at a shard has used, as far as its runner has said, in microseconds.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Spent {
    micros: AtomicU64,
    /// Whether none of its pictures was run with success: what it cost is then no measure of others.
    is_no_measure: AtomicBool,
}

impl Spent {
    /// Threads of a runner that work for a shard at once, at most.
    const MOST_AT_ONCE: u32 = 64;

    /// The runner has said so.
    pub(super) fn report(&self, micros: Option<u64>) {
        let micros = micros.unwrap_or(0);
        self.micros.fetch_max(micros, Ordering::Relaxed);
    }

    /// The runner has written a part, and said so.
    pub(super) fn report_part(&self, part: &Part, micros: Option<u64>) {
        // A runner that measures says so with nothing spent, too.
        self.report(micros.map(|micros| micros.max(1)));
        let is_no_measure = part.reused == part.succeeded;
        self.is_no_measure.store(is_no_measure, Ordering::Relaxed);
    }

    /// The cost of a place that was taken for so long.
    pub(super) fn cost(&self, elapsed: Duration, is_used: bool) -> Cost {
        match self.micros.load(Ordering::Relaxed) {
            0 if !is_used => Cost::Nothing,
            0 => Cost::Elapsed(elapsed),
            micros => {
                let most = elapsed.saturating_mul(Self::MOST_AT_ONCE);
                let time = Duration::from_micros(micros).min(most);
                if self.is_no_measure.load(Ordering::Relaxed) {
                    Cost::Elapsed(time)
                } else {
                    Cost::Measured(time)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_protocol::PartFile;

    fn part(succeeded: u64, reused: u64) -> Part {
        Part {
            from: 0,
            to: 10,
            end: false,
            succeeded,
            failed: 10 - succeeded,
            skipped: 0,
            reused,
            rows: PartFile {
                bytes: 0,
                sha256: String::new(),
            },
            formatted: None,
            answers: None,
        }
    }

    #[test]
    fn a_shard_costs_what_was_measured_and_teaches_only_of_what_was_run() {
        let (elapsed, ms) = (Duration::from_secs(3), Duration::from_millis);
        let cost = |part: Part, micros, is_used| {
            let spent = Spent::default();
            spent.report_part(&part, micros);
            spent.cost(elapsed, is_used)
        };
        assert_eq!(cost(part(10, 4), Some(7000), true), Cost::Measured(ms(7)));
        let reused = cost(part(10, 10), Some(0), true);
        assert_eq!(reused, Cost::Elapsed(Duration::from_micros(1)));
        assert_eq!(cost(part(9, 9), Some(7000), true), Cost::Elapsed(ms(7)));
        assert_eq!(cost(part(10, 0), None, true), Cost::Elapsed(elapsed));
        // Its runner did not begin, or was there in vain.
        assert_eq!(Spent::default().cost(elapsed, false), Cost::Nothing);
        assert_eq!(cost(part(10, 0), Some(7000), false), Cost::Measured(ms(7)));
    }
}
