//! The number of runners of a pool with `spec.autoscaling`. Pure: time is an argument.
//!
//! The pool needs enough runners for the arriving jobs, to clear the queue in the target time, and to do
//! its batches:
//!
//! ```text
//! arrivals per second / (UTILISATION * rate) + queued / (rate * targetQueueSeconds)
//!     + pictures left / (pictures per second * BATCH_SECONDS)
//! ```
//!
//! where `rate` is the jobs per second of one runner with every slot taken, and `pictures per second` that of
//! one runner with shards ([`measure`]). The last term is at most what has room for all shards that may run
//! at once. Scaling up is immediate; scaling down goes to the highest need of the last five minutes, as in Kubernetes' own
//! autoscaler. docs/src/autoscaling.md shows the result for several loads.

mod measure;
mod window;

use super::load::Load;
use fovea_crds::Autoscaling;
use measure::Measured;
use std::cmp::Ordering;
use std::fmt;
use std::time::{Duration, Instant};
use window::Highest;

/// Share of its time that a runner is busy while no job waits; the rest absorbs random peaks.
const UTILISATION: f64 = 0.85;

/// A runner is removed once it was not needed for this time.
const WINDOW: Duration = Duration::from_mins(5);

/// Time in which batches are to be done, at least: that of [`WINDOW`], since a runner stays for as long even
/// if it has nothing to do. A longer one would end a batch with ever fewer runners.
const BATCH_SECONDS: Duration = WINDOW;

/// Least time between two steps up, except for the first runner.
const UP_EVERY: Duration = Duration::from_secs(15);

/// Least time between two steps down, except for that of an idle pool.
const DOWN_EVERY: Duration = Duration::from_mins(1);

/// While runners start, one step up multiplies their number at most by this factor, or adds [`FEW`]:
/// starting runners are capacity to come. They do not count until the speed of a runner is known.
const GROWTH: u32 = 2;

/// Runners that one step may add in any case while others start.
const FEW: u32 = 4;

/// A smaller change, as a share of the runners, is not made: the measurement is no more exact, and
/// [`UTILISATION`] leaves room for it.
const TOLERANCE: f64 = 0.1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runners {
    /// Those that serve every model of the pool.
    pub ready: u32,
    /// Those that do not serve every model yet.
    pub starting: u32,
    /// Those of the starting ones that will not serve by themselves, so that adding more is no use.
    pub failing: u32,
}

/// The desired number of runners.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    pub replicas: u32,
    pub reason: Reason,
    /// Time in seconds that one runner would need for all unfinished jobs and batches; `None` until the
    /// speed of a runner is known.
    pub backlog_seconds: Option<f64>,
}

/// Reason for a number of runners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The unfinished jobs and batches need this many runners.
    Needed,
    /// The work needs more than `max`.
    AtMax,
    /// The work needs more; they are added once the starting ones serve.
    Starting,
    /// The work needs more; they are added once the failing ones are fixed.
    Failing,
    /// The work needs fewer, but needed these recently.
    Holding,
    /// The pool is idle, but not for idleSeconds yet.
    Quiet,
    /// The pool has been idle for idleSeconds.
    Idle,
}

impl Reason {
    /// The word for a condition's `reason`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Needed => "BacklogNeeds",
            Self::AtMax => "AtMaximum",
            Self::Starting => "RunnersStart",
            Self::Failing => "RunnersFail",
            Self::Holding => "NeededRecently",
            Self::Quiet => "QuietForNow",
            Self::Idle => "Idle",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replicas = self.replicas;
        match self.reason {
            Reason::Needed => write!(
                f,
                "{replicas} runners for the queued and arriving jobs and the batches"
            ),
            Reason::AtMax => write!(
                f,
                "the queued and arriving jobs and the batches need more than {replicas} runners; raise spec.autoscaling.max to allow more"
            ),
            Reason::Starting => write!(f, "{replicas} runners until the starting ones are ready"),
            Reason::Failing => write!(
                f,
                "{replicas} runners until the failing ones are ready; see the pool's status"
            ),
            Reason::Holding => write!(
                f,
                "{replicas} runners, the highest need of the last {} s",
                WINDOW.as_secs()
            ),
            Reason::Quiet => write!(
                f,
                "{replicas} runners until the pool has been idle for spec.autoscaling.idleSeconds"
            ),
            Reason::Idle => write!(f, "{replicas} runners because there are no jobs"),
        }
    }
}

/// The spec's bounds, with `min <= max` enforced.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    min: u32,
    max: u32,
}

impl Bounds {
    fn of(wish: &Autoscaling) -> Self {
        let max = wish.max.max(1);
        Self {
            min: wish.min.min(max),
            max,
        }
    }

    fn clip(self, replicas: u32) -> u32 {
        replicas.clamp(self.min, self.max)
    }
}

/// The autoscaler of one pool; its memory is bounded.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    measured: Measured,
    needed: Highest,
    /// Number of runners of the last decision.
    wanted: Option<u32>,
    idle_since: Option<Instant>,
    raised: Option<Instant>,
    lowered: Option<Instant>,
}

impl Default for Autoscaler {
    fn default() -> Self {
        Self {
            measured: Measured::default(),
            needed: Highest::over(WINDOW),
            wanted: None,
            idle_since: None,
            raised: None,
            lowered: None,
        }
    }
}

impl Autoscaler {
    /// Decides the number of runners at `now`; call it every few seconds. The first decision starts from the
    /// existing runners, so that a new leader makes no hasty change.
    pub fn decide(
        &mut self,
        wish: &Autoscaling,
        load: &Load,
        runners: Runners,
        now: Instant,
    ) -> Decision {
        let bounds = Bounds::of(wish);
        let stirred = self.measured.see(load, runners.ready, now);
        let existing = runners.ready.saturating_add(runners.starting);
        let before = bounds.clip(self.wanted.unwrap_or(existing));
        if self.wanted.is_none() {
            self.needed.note(before, now);
        }
        let busy = has_work(load);
        if busy || stirred {
            self.idle_since = None;
        }
        let idle_since = (!busy).then(|| *self.idle_since.get_or_insert(now));
        let idle = idle_since.is_some_and(|since| {
            let quiet = now.saturating_duration_since(since);
            quiet >= Duration::from_secs(wish.idle_seconds.into())
        });
        let need = self.needed(wish, load, before);
        let needed = whole_runners(need.runners()).max(u32::from(busy));
        self.needed.note(needed.min(bounds.max), now);

        let enough = f64::from(before) * (1.0 + TOLERANCE);
        let (replicas, reason) = if idle {
            (bounds.min, Reason::Idle)
        } else if need.runners() > enough || busy && before == 0 {
            self.up(bounds, need, needed, before, runners, now)
        } else {
            self.down(load, needed, before, busy, now)
        };
        let replicas = bounds.clip(replicas.max(u32::from(busy)));
        match replicas.cmp(&before) {
            Ordering::Greater => self.raised = Some(now),
            Ordering::Less => self.lowered = Some(now),
            Ordering::Equal => {}
        }
        self.wanted = Some(replicas);
        Decision {
            replicas,
            reason,
            backlog_seconds: self.measured.backlog_seconds(load),
        }
    }

    /// Runners that the load needs, without bounds.
    fn needed(&self, wish: &Autoscaling, load: &Load, before: u32) -> Need {
        let target = f64::from(wish.target_queue_seconds.max(1));
        let Some(slots) = self.measured.slots() else {
            // No runner has reported its slots yet: the existing ones have to suffice.
            return Need {
                measured: 0.0,
                assumed: if has_work(load) {
                    f64::from(before)
                } else {
                    0.0
                },
            };
        };
        // Until a job has ended, each is assumed to take the target time.
        let measured = self.measured.rate();
        let rate = measured.unwrap_or(slots / target);
        let keep_up = self.measured.arrivals_per_second() / (UTILISATION * rate);
        let clear = f64::from(load.queued) / (rate * target);
        let (jobs, batches) = (keep_up + clear, self.needed_by_batches(load, target));
        match measured {
            Some(_) => Need {
                measured: jobs + batches,
                assumed: 0.0,
            },
            None => Need {
                measured: batches,
                assumed: jobs,
            },
        }
    }

    /// Runners that the batches need. Until it is known how fast a runner does their pictures, one.
    fn needed_by_batches(&self, load: &Load, target: f64) -> f64 {
        if load.batch_pictures_left == 0 {
            return 0.0;
        }
        let seconds = target.max(BATCH_SECONDS.as_secs_f64());
        let backlog = self.measured.batch_seconds(load);
        let needed = backlog.map_or(1.0, |backlog| backlog / seconds);
        let shard_slots = load.shard_slots.unwrap_or(1).max(1);
        needed.min(f64::from(load.shards_runnable) / f64::from(shard_slots))
    }

    fn up(
        &self,
        bounds: Bounds,
        need: Need,
        needed: u32,
        before: u32,
        runners: Runners,
        now: Instant,
    ) -> (u32, Reason) {
        if before >= bounds.max {
            return (bounds.max, Reason::AtMax);
        }
        let last = self.raised.map(|then| now.saturating_duration_since(then));
        if before > 0 && last.is_some_and(|ago| ago < UP_EVERY) {
            return (before, Reason::Starting);
        }
        let starting = runners.starting > 0 || before > runners.ready;
        let step = if starting {
            let few = before.saturating_add(FEW);
            before.saturating_mul(GROWTH).max(few)
        } else {
            u32::MAX
        };
        let most = if need.assumed > 0.0 {
            let doubled = before.min(runners.ready).saturating_mul(GROWTH);
            doubled.max(step.min(whole_runners(need.measured)))
        } else {
            step
        };
        // While runners fail, the number of serving runners limits the new ones.
        let proven = match runners.failing {
            0 => u32::MAX,
            _ => runners.ready.saturating_mul(GROWTH),
        };
        let most = most.min(proven).max(1);
        let reason = match needed {
            _ if needed > most && most >= proven => Reason::Failing,
            _ if needed > most => Reason::Starting,
            _ if needed > bounds.max => Reason::AtMax,
            _ => Reason::Needed,
        };
        (needed.min(most).max(before), reason)
    }

    fn down(
        &mut self,
        load: &Load,
        needed: u32,
        before: u32,
        busy: bool,
        now: Instant,
    ) -> (u32, Reason) {
        let kept = if busy { Reason::Holding } else { Reason::Quiet };
        let for_running = match self.measured.slots() {
            Some(slots) => whole_runners(f64::from(load.running) / slots),
            None if load.running > 0 => before,
            None => 0,
        };
        let shard_slots = load.shard_slots.unwrap_or(1).max(1);
        let for_running = for_running.max(load.shards_running.div_ceil(shard_slots));
        // The last runner is removed after idleSeconds only.
        let last = u32::from(before > 0);
        let fewest = self.needed.highest(now).max(for_running).max(last);
        if needed >= before {
            return (before, Reason::Needed);
        }
        let ago = self.lowered.map(|then| now.saturating_duration_since(then));
        let alike = f64::from(fewest) > f64::from(before) * (1.0 - TOLERANCE);
        if fewest >= before || alike || ago.is_some_and(|ago| ago < DOWN_EVERY) {
            return (before, kept);
        }
        let reason = if fewest > needed {
            kept
        } else {
            Reason::Needed
        };
        (fewest, reason)
    }
}

/// Runners that a load needs, as fractions.
#[derive(Clone, Copy, Debug)]
struct Need {
    /// For work whose speed is measured, and the first runner of a batch.
    measured: f64,
    /// For jobs whose speed is assumed.
    assumed: f64,
}

impl Need {
    fn runners(self) -> f64 {
        self.measured + self.assumed
    }
}

fn has_work(load: &Load) -> bool {
    let jobs = load.queued > 0 || load.running > 0;
    let batches = load.batch_pictures_left > 0 && load.shards_runnable > 0;
    jobs || batches || load.shards_running > 0
}

/// `runners`, rounded up, except for rounding errors.
fn whole_runners(runners: f64) -> u32 {
    const ROUNDING: f64 = 1e-9;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is not a number is 0, and the rest saturates"
    )]
    let whole = (runners - ROUNDING).ceil() as u32;
    whole
}

#[cfg(test)]
mod properties;
#[cfg(test)]
#[path = "autoscale_tests.rs"]
mod tests;
#[cfg(test)]
mod world;
