//! What jobs cost, in time of a runner: expected from what others cost before, and measured. Pure: time is an
//! argument.

use crate::fair_queue::Shares;
use crate::job::retry::{Outcome, is_refusal};
use fovea_protocol::Reason;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Least cost, of a runner that measures nothing, too: then namespaces share by the number of jobs.
pub(super) const LEAST: Duration = Duration::from_millis(1);

/// Expected cost while none of the model's jobs was measured.
const UNKNOWN: Duration = Duration::from_millis(100);

/// Time for which a namespace without work counts as active.
const ACTIVE_FOR: Duration = Duration::from_mins(1);

/// A job is costly beside another namespace's if it costs more than so many times as much.
const COSTLY: u32 = 4;

/// The latest cost has this part in the mean, which so follows the last dozen jobs.
const NEWEST: u32 = 8;

/// Upper bound on the namespaces whose costs are remembered. Beyond it the one that was idle for longest is
/// forgotten.
const MAX_NAMESPACES: usize = 4096;

/// Upper bound on the models of a namespace whose costs are remembered, above that of a pool's.
const MAX_MODELS: usize = 64;

/// What an attempt has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// As its runner measured it.
    Measured(Duration),
    /// Time to pay for that says nothing of what such jobs cost: the runner measured nothing, or the job did not
    /// run to its end, or not at all.
    Elapsed(Duration),
    /// It did not begin.
    Nothing,
}

impl Cost {
    /// The cost of an attempt that was on its runner for this long, and cannot have cost more.
    pub(super) fn of(outcome: &Outcome, elapsed: Duration) -> Self {
        let at_most = |micros| Duration::from_micros(micros).min(elapsed);
        match outcome {
            Outcome::Succeeded(success) if success.reused => Self::Elapsed(Duration::ZERO),
            Outcome::Succeeded(success) => {
                let inferring = success.timings.infer_millis.saturating_mul(1000);
                Self::Measured(at_most(success.cost_micros.unwrap_or(inferring)))
            }
            Outcome::NotBegun(_) | Outcome::Refused(_) => Self::Nothing,
            Outcome::Problem(problem) if is_refusal(problem.reason) => Self::Nothing,
            Outcome::Problem(problem) => match problem.cost_micros {
                // What it was busy with at that time is not measured.
                Some(micros) if problem.reason != Reason::DeadlineExceeded => {
                    Self::Elapsed(at_most(micros))
                }
                _ => Self::Elapsed(elapsed),
            },
            Outcome::Lost(_) => Self::Elapsed(elapsed),
        }
    }

    /// What the namespace pays.
    pub(super) fn charge(self) -> Duration {
        match self {
            Self::Measured(time) | Self::Elapsed(time) => time.max(LEAST),
            Self::Nothing => Duration::ZERO,
        }
    }
}

/// The costs of a pool's jobs, by namespace and model.
#[derive(Debug, Default)]
pub(super) struct Costs {
    namespaces: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    /// When it last had work.
    active: Instant,
    /// Mean cost of its latest jobs, by model.
    means: HashMap<String, Duration>,
}

/// The namespaces that are active, and the cheapest jobs of them.
#[derive(Debug, Default)]
pub(super) struct Contention<'a> {
    /// The two namespaces with the cheapest jobs.
    cheapest: [Option<(Duration, &'a str)>; 2],
    /// The weights of all that have work; those that rest count as one together, of the greatest of their weights.
    weights: u64,
}

impl Costs {
    /// A namespace has work.
    pub(super) fn see(&mut self, namespace: &str, now: Instant) {
        if let Some(known) = self.namespaces.get_mut(namespace) {
            known.active = now;
            return;
        }
        if self.namespaces.len() >= MAX_NAMESPACES {
            let idle = self.namespaces.iter().min_by_key(|(_, known)| known.active);
            if let Some(idle) = idle.map(|(name, _)| name.clone()) {
                self.namespaces.remove(&idle);
            }
        }
        let known = Known {
            active: now,
            means: HashMap::new(),
        };
        self.namespaces.insert(namespace.to_owned(), known);
    }

    /// A job of the namespace has ended.
    pub(super) fn record(&mut self, (namespace, model): (&str, &str), cost: Cost, now: Instant) {
        self.see(namespace, now);
        let (Some(known), Cost::Measured(_)) = (self.namespaces.get_mut(namespace), cost) else {
            return;
        };
        let cost = cost.charge();
        if let Some(mean) = known.means.get_mut(model) {
            *mean = (*mean * (NEWEST - 1) + cost) / NEWEST;
        } else {
            if known.means.len() >= MAX_MODELS {
                known.means.clear();
            }
            known.means.insert(model.to_owned(), cost);
        }
    }

    /// Cost to expect of a job: what such jobs of its namespace cost lately, or the cheapest ones of others.
    pub(super) fn expect(&self, namespace: &str, model: &str) -> Duration {
        let own = self.mean(namespace, model);
        let of_others = || {
            let known = self.namespaces.values();
            known.filter_map(|known| known.means.get(model)).min()
        };
        own.or_else(of_others).copied().unwrap_or(UNKNOWN)
    }

    fn mean(&self, namespace: &str, model: &str) -> Option<&Duration> {
        self.namespaces.get(namespace)?.means.get(model)
    }

    /// Who is active now. `is_busy`: whether a namespace has jobs.
    pub(super) fn contention(
        &self,
        shares: &Shares,
        now: Instant,
        is_busy: impl Fn(&str) -> bool,
    ) -> Contention<'_> {
        let mut contention = Contention::default();
        let mut resting = 0;
        for (namespace, known) in &self.namespaces {
            let idle = now.saturating_duration_since(known.active);
            let weight = u64::from(shares.weight(namespace));
            if is_busy(namespace) && !shares.closed.contains(namespace) {
                contention.weights += weight;
            } else if idle < ACTIVE_FOR {
                resting = weight.max(resting);
            } else {
                continue;
            }
            if let Some(cheapest) = known.means.values().min() {
                let [first, second] = &mut contention.cheapest;
                let this = Some((*cheapest, namespace.as_str()));
                if first.is_none_or(|first| (*cheapest, namespace.as_str()) < first) {
                    *second = std::mem::replace(first, this);
                } else if second.is_none_or(|second| (*cheapest, namespace.as_str()) < second) {
                    *second = this;
                }
            }
        }
        contention.weights += resting;
        contention
    }

    /// How many jobs of the model the namespace may have on runners, of `slots` in all: its share by weight if its
    /// jobs are costly beside those of another namespace that is active, so that these find room at once.
    pub(super) fn most(
        &self,
        (namespace, model): (&str, &str),
        contention: &Contention<'_>,
        shares: &Shares,
        slots: u32,
    ) -> u32 {
        let mut cheapest = contention.cheapest.iter().flatten();
        let of_another = cheapest.find(|(_, other)| *other != namespace);
        let is_costly = match (self.mean(namespace, model), of_another) {
            (Some(own), Some((other, _))) => *own > *other * COSTLY,
            _ => false,
        };
        if !is_costly {
            return u32::MAX;
        }
        let weight = u64::from(shares.weight(namespace));
        let share = u64::from(slots) * weight / contention.weights.max(weight + 1);
        u32::try_from(share).unwrap_or(u32::MAX).max(1)
    }
}

#[cfg(test)]
#[path = "costs_tests.rs"]
mod tests;
