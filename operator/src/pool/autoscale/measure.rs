//! Measures the arrival rate of jobs and the speed of one runner from the dispatcher's counters.
//!
//! A job's time on a runner gives the speed of a full runner only if slots share nothing. On a GPU they
//! do, and only a full runner shows how much. So two times are kept: of recent jobs, and of jobs on full
//! runners. The second is clamped by the first: a job on a full runner takes at least as long as on a
//! half-empty one, and at most as long as if its slots shared everything evenly.

use super::super::load::Load;
use std::time::{Duration, Instant};

/// Arrivals are averaged over about this time. A longer one counts bursts twice less often, as arrivals
/// and as queue; a shorter one follows a ramp sooner.
const ARRIVALS_OVER: Duration = Duration::from_mins(2);

/// Weight of one more job in the average duration.
const ONE_JOB: f64 = 1.0 / 32.0;

/// Runners count as full when this share of their slots is taken.
const FULL: f64 = 0.9;

/// Lower bound on the duration of a job, in seconds, to bound the rate.
const SHORTEST_JOB: f64 = 1e-3;

#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    last: Option<Seen>,
    /// A moving sum of arrivals over [`ARRIVALS_OVER`].
    arrivals: f64,
    now: Option<Jobs>,
    when_full: Option<Jobs>,
    slots: Option<f64>,
}

/// Averages of jobs that have ended.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Jobs {
    seconds: f64,
    /// Jobs that a runner had meanwhile.
    at_once: f64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    there: u64,
    ended: u64,
    busy_seconds: f64,
    /// Jobs on each ready runner, on average.
    at_once: Option<f64>,
}

impl Measured {
    /// Records the load at `now`, with this many ready runners; returns whether jobs have ended since.
    pub(super) fn see(&mut self, load: &Load, ready: u32, now: Instant) -> bool {
        if let Some(slots) = load.slots {
            self.slots = Some(f64::from(slots.max(1)));
        }
        let seen = Seen {
            at: now,
            there: u64::from(load.queued) + u64::from(load.running),
            ended: load.ended,
            busy_seconds: load.busy_seconds,
            at_once: (ready > 0).then(|| f64::from(load.running) / f64::from(ready)),
        };
        let Some(last) = self.last.replace(seen) else {
            return false;
        };
        self.between(last, seen);
        last.ended != seen.ended
    }

    fn between(&mut self, last: Seen, seen: Seen) {
        let passed = seen.at.saturating_duration_since(last.at);
        let kept = (-passed.as_secs_f64() / ARRIVALS_OVER.as_secs_f64()).exp();
        self.arrivals *= kept;
        // A lower count than before is another leader's, and cannot be compared.
        let Some(ended) = seen.ended.checked_sub(last.ended) else {
            return;
        };
        let arrived = seen.there.saturating_add(ended).saturating_sub(last.there);
        self.arrivals += number(arrived);

        let seconds = (seen.busy_seconds - last.busy_seconds) / number(ended);
        if ended == 0 || !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        let at_once = match (last.at_once, seen.at_once) {
            (Some(before), Some(after)) => f64::midpoint(before, after),
            (one, other) => one.or(other).unwrap_or(1.0),
        };
        let jobs = Jobs {
            seconds: seconds.max(SHORTEST_JOB),
            at_once: at_once.max(1.0),
        };
        let weight = 1.0 - (1.0 - ONE_JOB).powf(number(ended));
        self.now = Some(jobs.mixed_into(self.now, weight));
        let full = FULL * self.slots.unwrap_or(1.0);
        let both_full = [last, seen].map(|each| each.at_once.is_some_and(|at| at >= full));
        if both_full == [true; 2] {
            self.when_full = Some(jobs.mixed_into(self.when_full, weight));
        }
    }

    pub(super) fn arrivals_per_second(&self) -> f64 {
        self.arrivals / ARRIVALS_OVER.as_secs_f64()
    }

    /// Jobs that one runner takes at once; `None` until a runner has answered.
    pub(super) fn slots(&self) -> Option<f64> {
        self.slots
    }

    /// Jobs per second of one full runner; `None` before any has ended.
    pub(super) fn rate(&self) -> Option<f64> {
        let (slots, now) = (self.slots?, self.now?);
        let shared_evenly = now.seconds * (slots / now.at_once).max(1.0);
        let seconds = match self.when_full {
            Some(full) => full.seconds.min(shared_evenly).max(now.seconds),
            None => now.seconds,
        };
        Some(slots / seconds)
    }

    /// Time in seconds that one runner would need for all unfinished jobs.
    pub(super) fn backlog_seconds(&self, load: &Load) -> Option<f64> {
        let there = f64::from(load.queued) + f64::from(load.running);
        if there == 0.0 {
            return Some(0.0);
        }
        Some(there / self.rate()?)
    }
}

impl Jobs {
    fn mixed_into(self, average: Option<Self>, weight: f64) -> Self {
        let Some(average) = average else {
            return self;
        };
        let mix = |old: f64, new: f64| old + weight * (new - old);
        Self {
            seconds: mix(average.seconds, self.seconds),
            at_once: mix(average.at_once, self.at_once),
        }
    }
}

/// As a float; saturates at `u32::MAX` jobs.
fn number(jobs: u64) -> f64 {
    f64::from(u32::try_from(jobs).unwrap_or(u32::MAX))
}
