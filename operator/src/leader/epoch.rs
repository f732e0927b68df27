//! The epoch of this leader: the Lease's transitions. A leader raises it where a runner remembers a
//! higher one, as after a restore of etcd from an older snapshot. Only a renewal of the Lease that this
//! process holds raises it, so a replaced leader cannot.

use fovea_protocol::LeaderRequest;
use k8s_openapi::api::coordination::v1::Lease;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// Upper bound on what one leader adds to the Lease's transitions, whatever runners say. More leader
/// changes than this since a snapshot are not expected; transitions have 31 bits.
const MAX_RAISE: u64 = 10_000;

/// The epoch as those see it who announce it.
#[derive(Clone, Debug)]
pub(crate) struct LeaderEpoch {
    current: watch::Receiver<LeaderRequest>,
    wanted: Arc<AtomicU64>,
    highest: u64,
}

/// The epoch as the holder of the Lease sees it.
#[derive(Debug)]
pub(super) struct Raising {
    current: watch::Sender<LeaderRequest>,
    wanted: Arc<AtomicU64>,
    highest: u64,
}

/// What follows a runner's refusal of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The epoch was raised meanwhile: announce the present one.
    AnnounceCurrent,
    /// Raise the epoch to this value.
    Raise(u64),
    /// The runner's epoch is out of reach, or it does not say which it remembers.
    None,
}

/// Decides what follows a refusal. `announced`: the epoch that the runner has refused; `remembered`: the
/// one that it remembers, if it says so; `current`: this leader's; `highest`: the bound on it.
fn remedy(announced: u64, remembered: Option<u64>, current: u64, highest: u64) -> Remedy {
    match remembered {
        Some(remembered) if announced < current && remembered <= current => Remedy::AnnounceCurrent,
        Some(remembered) if remembered < highest => Remedy::Raise(remembered + 1),
        None | Some(_) => Remedy::None,
    }
}

impl LeaderEpoch {
    /// This leader as runners know it.
    pub(crate) fn current(&self) -> LeaderRequest {
        self.current.borrow().clone()
    }

    pub(crate) fn remedy(&self, announced: u64, remembered: Option<u64>) -> Remedy {
        let current = self.current.borrow().epoch;
        remedy(announced, remembered, current, self.highest)
    }

    /// Asks for `epoch` with the next renewal of the Lease.
    pub(crate) fn raise_to(&self, epoch: u64) {
        self.wanted
            .fetch_max(epoch.min(self.highest), Ordering::Relaxed);
    }
}

impl Raising {
    /// Of a Lease that `holder` has just taken.
    pub(super) fn of(lease: &Lease, holder: &str) -> Self {
        let leader = LeaderRequest {
            installation: lease.metadata.uid.clone().unwrap_or_default(),
            epoch: epoch(lease),
            holder: Some(holder.to_owned()),
        };
        let most = u64::from(i32::MAX.unsigned_abs());
        Self {
            wanted: Arc::new(AtomicU64::new(leader.epoch)),
            highest: leader.epoch.saturating_add(MAX_RAISE).min(most),
            current: watch::Sender::new(leader),
        }
    }

    pub(super) fn epoch(&self) -> LeaderEpoch {
        LeaderEpoch {
            current: self.current.subscribe(),
            wanted: Arc::clone(&self.wanted),
            highest: self.highest,
        }
    }

    /// The transitions to write with the next renewal.
    pub(super) fn transitions(&self) -> i32 {
        i32::try_from(self.wanted.load(Ordering::Relaxed)).unwrap_or(i32::MAX)
    }

    /// The Lease is written: from now on its epoch is announced.
    pub(super) fn written(&self, lease: &Lease) {
        let epoch = epoch(lease);
        self.current.send_if_modified(|leader| {
            let before = std::mem::replace(&mut leader.epoch, epoch);
            if before != epoch {
                tracing::warn!(
                    before,
                    epoch,
                    "the epoch is raised: a runner remembers a higher one, as after a restore of etcd"
                );
            }
            before != epoch
        });
    }
}

fn epoch(lease: &Lease) -> u64 {
    let spec = lease.spec.as_ref();
    let transitions = spec.and_then(|spec| spec.lease_transitions);
    u64::try_from(transitions.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    fn lease(transitions: i32) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_leader_rises_above_what_a_runner_remembers_and_announces_what_it_has_reached() {
        assert_eq!(remedy(3, Some(7), 3, 100), Remedy::Raise(8));
        assert_eq!(remedy(3, Some(7), 8, 100), Remedy::AnnounceCurrent);
        // Another leader of the same epoch, from before the restore.
        assert_eq!(remedy(3, Some(3), 3, 100), Remedy::Raise(4));
        // Another link of this leader has announced the present epoch to the same runner.
        assert_eq!(remedy(3, Some(8), 8, 100), Remedy::AnnounceCurrent);
        assert_eq!(remedy(8, Some(8), 8, 100), Remedy::Raise(9));
    }

    #[test]
    fn an_epoch_out_of_reach_or_unnamed_raises_nothing() {
        assert_eq!(remedy(3, Some(99), 3, 100), Remedy::Raise(100));
        for remembered in [Some(100), Some(u64::MAX), None] {
            assert_eq!(remedy(3, remembered, 3, 100), Remedy::None);
        }
    }

    #[test]
    fn the_epoch_changes_once_the_lease_is_written() {
        let raising = Raising::of(&lease(3), "me");
        let epoch = raising.epoch();
        epoch.raise_to(8);
        epoch.raise_to(6);
        assert_eq!((raising.transitions(), epoch.current().epoch), (8, 3));
        raising.written(&lease(8));
        assert_eq!((raising.transitions(), epoch.current().epoch), (8, 8));
        epoch.raise_to(u64::MAX);
        assert_eq!(
            u64::from(raising.transitions().unsigned_abs()),
            3 + MAX_RAISE
        );
    }

    #[test]
    fn transitions_stay_what_a_lease_can_hold() {
        let raising = Raising::of(&lease(i32::MAX - 1), "me");
        raising.epoch().raise_to(u64::MAX);
        assert_eq!(raising.transitions(), i32::MAX);
    }
}
