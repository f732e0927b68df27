//! Measures the arrival rate of jobs and the speed of one runner, with jobs and with shards of batches, from
//! the dispatcher's counters.
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

/// Pictures of batches are averaged over about so much time of runners with shards: runners report them every
/// few seconds only.
const BATCHES_OVER: Duration = Duration::from_mins(1);

/// Time of runners with shards after which their speed counts as measured: they begin with downloads.
const BATCHES_FROM: Duration = Duration::from_secs(10);

/// Weight of one more job in the average duration.
const ONE_JOB: f64 = 1.0 / 32.0;

/// Runners count as full when this share of their slots is taken.
const FULL: f64 = 0.9;

/// Lower bound on a duration, in seconds, to bound the rate.
const SHORTEST: f64 = 1e-3;

#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    last: Option<Seen>,
    /// A moving sum of arrivals over [`ARRIVALS_OVER`].
    arrivals: f64,
    now: Option<Jobs>,
    when_full: Option<Jobs>,
    slots: Option<f64>,
    batches: Batches,
}

/// Pictures of batches, and the time of runners that did them.
#[derive(Clone, Copy, Debug, Default)]
struct Batches {
    /// A moving sum over [`BATCHES_OVER`] of that time.
    pictures: f64,
    /// The time in seconds, in the same way.
    seconds: f64,
    /// The time since the last picture, at most [`BATCHES_OVER`]: a store that fails makes no runner slower.
    since_picture: f64,
    /// The time in all.
    measured: f64,
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
    batch_pictures: u64,
    batch_seconds: f64,
    /// Jobs on each ready runner, on average.
    at_once: Option<f64>,
}

impl Measured {
    /// Records the load at `now`, with this many ready runners; returns whether jobs have ended since, or
    /// pictures of batches.
    pub(super) fn see(&mut self, load: &Load, ready: u32, now: Instant) -> bool {
        if let Some(slots) = load.slots {
            self.slots = Some(f64::from(slots.max(1)));
        }
        let seen = Seen {
            at: now,
            there: u64::from(load.queued) + u64::from(load.running),
            ended: load.ended,
            busy_seconds: load.busy_seconds,
            batch_pictures: load.batch_pictures_done,
            batch_seconds: load.batch_busy_seconds,
            at_once: (ready > 0).then(|| f64::from(load.running) / f64::from(ready)),
        };
        let Some(last) = self.last.replace(seen) else {
            return false;
        };
        self.between(last, seen);
        if let Some(pictures) = seen.batch_pictures.checked_sub(last.batch_pictures) {
            let seconds = seen.batch_seconds - last.batch_seconds;
            self.batches.add(number(pictures), seconds);
        }
        last.ended != seen.ended || last.batch_pictures != seen.batch_pictures
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
            seconds: seconds.max(SHORTEST),
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

    /// Time in seconds that one runner would need for all unfinished jobs and batches.
    pub(super) fn backlog_seconds(&self, load: &Load) -> Option<f64> {
        let there = f64::from(load.queued) + f64::from(load.running);
        let jobs = if there == 0.0 {
            0.0
        } else {
            there / self.rate()?
        };
        Some(jobs + self.batch_seconds(load)?)
    }

    /// Time in seconds that one runner would need for what is left of the batches; `None` if that is unknown.
    pub(super) fn batch_seconds(&self, load: &Load) -> Option<f64> {
        match load.batch_pictures_left {
            0 => Some(0.0),
            left => Some(number(left) / self.batches.rate()?),
        }
    }
}

impl Batches {
    fn add(&mut self, pictures: f64, seconds: f64) {
        if !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        let over = BATCHES_OVER.as_secs_f64();
        self.since_picture = (self.since_picture + seconds).min(over);
        if pictures == 0.0 {
            return;
        }
        let seconds = std::mem::take(&mut self.since_picture);
        let kept = (-seconds / over).exp();
        self.pictures = self.pictures * kept + pictures;
        self.seconds = self.seconds * kept + seconds;
        self.measured += seconds;
    }

    /// Pictures per second of one runner; `None` until that is measured.
    fn rate(&self) -> Option<f64> {
        let known = self.measured >= BATCHES_FROM.as_secs_f64();
        known.then(|| self.pictures / self.seconds.max(SHORTEST))
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
