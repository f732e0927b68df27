//! What the pools' controller is told: how much there is to do, and which runner does how much of it.

use super::Dispatcher;
use super::fleet::{Fleet, Health};
use super::pools::Work;
use super::queue::{Queue, Shares};
use crate::pool::provision::{Load, Loads, Provision};

impl Dispatcher {
    /// Every other second.
    pub(super) fn tell_loads(&self) {
        let loads: Loads = self
            .pools
            .provided()
            .map(|(key, queue, fleet, work, provision)| {
                (key.clone(), load(queue, fleet, work, provision))
            })
            .collect();
        self.parts
            .loads
            .send_if_modified(|told| std::mem::replace(told, loads.clone()) != loads);
    }

    /// At once where a pool has its first job: it may have no runner.
    pub(super) fn tell_first_job(&self) {
        let first = {
            let told = self.parts.loads.borrow();
            self.pools.provided().any(|(key, (queue, shares), ..)| {
                told.get(key).is_none_or(|load| load.queued == 0) && queue.runnable(shares) > 0
            })
        };
        if first {
            self.tell_loads();
        }
    }
}

fn load(
    (queue, shares): (&Queue, &Shares),
    fleet: &Fleet,
    work: Work,
    provision: Option<&Provision>,
) -> Load {
    let Work {
        ended,
        busy_seconds,
    } = work;
    let pods = provision.map_or(&[][..], |provision| &provision.runners);
    let serves_all = |endpoint: &str| {
        fleet.iter().any(|(each, health)| {
            let Health::Up { state, .. } = health else {
                return false;
            };
            each == endpoint
                && !state.models.is_empty()
                && state.models.iter().all(|model| model.ready)
        })
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
        ready_pods: (pods.iter())
            .filter(|pod| serves_all(pod.url.as_str()))
            .map(|pod| pod.name.clone())
            .collect(),
    }
}
