//! A queue whose namespaces take turns by the time of runners that their jobs take. Pure: time is an argument.

use super::costs::{Cost, Costs};
use super::queue::{Queue, Shares, Waiting};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(super) struct Turns {
    pub(super) queue: Queue,
    costs: Costs,
}

/// The turn of a job that has left the queue, until it is given back.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    namespace: String,
    model: String,
    /// What its namespace has paid in advance.
    charged: Duration,
}

impl Turns {
    pub(super) fn push(&mut self, waiting: Waiting, now: Instant) {
        self.costs.see(&waiting.namespace, now);
        self.queue.push(waiting);
    }

    /// The next job of a model that `has_room`, if runners have `slots` in all.
    pub(super) fn next(
        &mut self,
        shares: &Shares,
        slots: u32,
        now: Instant,
        has_room: impl Fn(&str) -> bool,
    ) -> Option<(Waiting, Turn)> {
        if self.queue.len() == 0 {
            return None;
        }
        let Self { queue, costs } = self;
        let contention = match shares.max_in_flight {
            None => Some(costs.contention(shares, now, |namespace| queue.is_busy(namespace))),
            Some(_) => None,
        };
        let popped = queue.pop(
            shares,
            |next| {
                has_room(next.lane)
                    && contention.as_ref().is_none_or(|contention| {
                        let whose = (next.namespace, next.lane);
                        next.in_flight < costs.most(whose, contention, shares, slots)
                    })
            },
            |waiting| costs.expect(&waiting.namespace, &waiting.model),
        );
        let (waiting, charged) = popped?;
        let turn = Turn {
            namespace: waiting.namespace.clone(),
            model: waiting.model.clone(),
            charged,
        };
        Some((waiting, turn))
    }

    /// The job is no longer on a runner, and has cost this.
    pub(super) fn give_back(&mut self, turn: &Turn, cost: Cost, shares: &Shares, now: Instant) {
        let Turn {
            namespace,
            model,
            charged,
        } = turn;
        self.costs.record((namespace, model), cost, now);
        self.queue
            .settle(shares, namespace, *charged, cost.charge());
        self.queue.finished(namespace);
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
