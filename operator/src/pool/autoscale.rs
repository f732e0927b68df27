//! How many runners a pool with `spec.autoscaling` is to have. Pure: time is an argument.
//!
//! Needed are the runners that keep up with what arrives and clear what waits in the target time:
//!
//! ```text
//! arrivals per second / (UTILISATION * rate) + queued / (rate * targetQueueSeconds)
//! ```
//!
//! where `rate` is the jobs a second of one runner with every slot taken ([`measure`]). Up goes at
//! once, down to the most that any moment of the last five minutes needed, as Kubernetes' own
//! autoscaler does. docs/src/autoscaling.md shows what that makes of several loads.

mod measure;
mod window;

use super::load::Load;
use fovea_crds::Autoscaling;
use measure::Measured;
use std::cmp::Ordering;
use std::fmt;
use std::time::{Duration, Instant};
use window::Highest;

/// What part of its time a runner is to be busy while nothing waits: the rest is for chance.
const UTILISATION: f64 = 0.85;

/// A runner goes once none of so long a time has needed it.
const WINDOW: Duration = Duration::from_mins(5);

/// Between two steps up, the first runner aside.
const UP_EVERY: Duration = Duration::from_secs(15);

/// Between two steps down, that to an idle pool's fewest aside.
const DOWN_EVERY: Duration = Duration::from_mins(1);

/// While runners start, one step up makes no more of them than so many times as many, or than
/// [`FEW`] more: what starts is capacity on its way. While it is not known how fast one is, those that
/// start do not count.
const GROWTH: u32 = 2;

/// So many more are not too many while runners start.
const FEW: u32 = 4;

/// Less than this part of the runners is not worth a change, up or down: what was measured is no
/// more exact, and [`UTILISATION`] leaves room for it.
const TOLERANCE: f64 = 0.1;

/// The runners that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runners {
    /// Those that serve every model of the pool.
    pub ready: u32,
    /// Those that do not yet.
    pub starting: u32,
    /// Those of the starting that will not by themselves: more of the same would not either.
    pub failing: u32,
}

/// How many runners there are to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// So many.
    pub replicas: u32,
    /// Why.
    pub reason: Reason,
    /// Seconds for which what waits and runs would keep one runner busy; `None` while it is not
    /// known how fast one is.
    pub backlog_seconds: Option<f64>,
}

/// Why there are to be so many runners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The work needs them.
    Needed,
    /// The work needs more than the pool may have.
    AtMax,
    /// The work needs more, and gets them once those that start serve.
    Starting,
    /// The work needs more, and gets them once those that fail are mended.
    Failing,
    /// The work needs fewer, but has needed these a short while ago.
    Holding,
    /// There is nothing to do, but not for idleSeconds yet.
    Quiet,
    /// There has been nothing to do for idleSeconds.
    Idle,
}

impl Reason {
    /// As a condition's reason.
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
            Reason::Needed => write!(f, "{replicas} runners for the queued and arriving jobs"),
            Reason::AtMax => write!(
                f,
                "the queued and arriving jobs need more than {replicas} runners; raise spec.autoscaling.max to allow more"
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

/// The fewest and the most, in order whatever the spec says.
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

/// What is remembered of one pool; of bounded size.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    measured: Measured,
    needed: Highest,
    /// What was decided last.
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
    /// How many runners there are to be from `now` on; to be asked every few seconds. The first
    /// answer is about those that there are, so that a new leader changes nothing in haste.
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
        let busy = load.queued > 0 || load.running > 0;
        if busy || stirred {
            self.idle_since = None;
        }
        let idle_since = (!busy).then(|| *self.idle_since.get_or_insert(now));
        let idle = idle_since.is_some_and(|since| {
            let quiet = now.saturating_duration_since(since);
            quiet >= Duration::from_secs(wish.idle_seconds.into())
        });
        let exactly = self.needed(wish, load, before);
        let needed = whole_runners(exactly).max(u32::from(busy));
        self.needed.note(needed.min(bounds.max), now);

        let enough = f64::from(before) * (1.0 + TOLERANCE);
        let (replicas, reason) = if idle {
            (bounds.min, Reason::Idle)
        } else if exactly > enough || busy && before == 0 {
            self.up(bounds, needed, before, runners, now)
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

    /// What the load as it is needs, bounds and whole runners aside.
    fn needed(&self, wish: &Autoscaling, load: &Load, before: u32) -> f64 {
        let target = f64::from(wish.target_queue_seconds.max(1));
        let Some(slots) = self.measured.slots() else {
            // No runner has ever said what it takes at once: those that there are have to do.
            let work = load.queued > 0 || load.running > 0;
            return if work { f64::from(before) } else { 0.0 };
        };
        // Until a job has ended, each is taken to last as long as one may wait.
        let rate = self.measured.rate().unwrap_or(slots / target);
        let keep_up = self.measured.arrivals_per_second() / (UTILISATION * rate);
        let clear = f64::from(load.queued) / (rate * target);
        keep_up + clear
    }

    fn up(
        &self,
        bounds: Bounds,
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
        let most = match self.measured.rate() {
            Some(_) if !starting => u32::MAX,
            Some(_) => before
                .saturating_mul(GROWTH)
                .max(before.saturating_add(FEW)),
            None => before.min(runners.ready).saturating_mul(GROWTH),
        };
        // Where runners fail, more are made only as far as others have been seen to serve.
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
        // The last runner goes by idleSeconds alone.
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

/// `runners`, rounded up, except for what is only the arithmetic's.
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
