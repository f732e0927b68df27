//! What the pools' controller is told: how much there is to do, and which runner does how much of it.

use super::Dispatcher;
use super::fleet::Health;
use super::pools::{Provided, Work};
use crate::pool::provision::{Load, Loads, RunnerPod};

impl Dispatcher {
    /// Every other second.
    pub(super) fn tell_loads(&self) {
        let provided = self.pools.provided();
        let loads: Loads = provided
            .map(|(key, pool)| (key.clone(), load(pool)))
            .collect();
        self.parts
            .loads
            .send_if_modified(|told| std::mem::replace(told, loads.clone()) != loads);
    }

    /// At once where a pool has its first job: it may have no runner.
    pub(super) fn tell_first_job(&self) {
        let first = {
            let told = self.parts.loads.borrow();
            self.pools.provided().any(|(key, pool)| {
                let rests = told.get(key).is_none_or(|load| load.queued == 0);
                rests && pool.queue.runnable(pool.shares) > 0
            })
        };
        if first {
            self.tell_loads();
        }
    }
}

fn load(pool: Provided<'_>) -> Load {
    let Provided {
        queue,
        shares,
        models,
        fleet,
        work: Work {
            ended,
            busy_seconds,
        },
        provision,
    } = pool;
    let pods = provision.map_or(&[][..], |provision| &provision.runners);
    let pods_where = |wanted: &dyn Fn(&Health) -> bool| {
        let is_one = |pod: &&RunnerPod| {
            let mut runners = fleet.iter();
            runners.any(|(endpoint, health)| endpoint == pod.url.as_str() && wanted(health))
        };
        let found = pods.iter().filter(is_one);
        found.map(|pod| pod.name.clone()).collect()
    };
    let slots = fleet.iter().find_map(|(_, health)| match health {
        Health::Up { state, .. } => Some(state.slots),
        Health::Down(_) | Health::Starting(_) => None,
    });
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Load {
        queued: count(queue.runnable(shares)),
        running: fleet.in_flight(),
        ended,
        busy_seconds,
        slots,
        by_pod: (pods.iter())
            .map(|pod| (pod.name.clone(), fleet.in_flight_at(pod.url.as_str())))
            .collect(),
        ready_pods: pods_where(&|health| health.serves(models.iter().map(String::as_str))),
        failed_pods: pods_where(&Health::has_failed),
    }
}
