//! Whether to take a Lease. Pure: the clock is an argument.

use k8s_openapi::api::coordination::v1::Lease;
use std::time::Duration;

/// The memory of a candidate between two observations of the Lease.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// The latest version of the Lease, and when this process first observed it.
    version: Option<(String, Duration)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Move {
    Create,
    /// Take the Lease: it is free or our own, or was not renewed for its duration.
    Take {
        /// The value of `leaseTransitions` to write: one more, unless the Lease is our own.
        transitions: i32,
    },
    Wait,
}

pub(super) fn decide(
    found: Option<&Lease>,
    observed: &mut Observed,
    now: Duration,
    identity: &str,
) -> Move {
    let Some(lease) = found else {
        return Move::Create;
    };
    let version = lease.metadata.resource_version.clone().unwrap_or_default();
    let since = match &observed.version {
        Some((known, since)) if *known == version => *since,
        _ => {
            observed.version = Some((version, now));
            now
        }
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let transitions = spec.lease_transitions.unwrap_or_default();
    let take = Move::Take {
        transitions: transitions.saturating_add(1),
    };
    if is_free(lease) {
        return take;
    }
    match spec.holder_identity.as_deref() {
        Some(holder) if holder == identity => Move::Take { transitions },
        _ => {
            let seconds =
                u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
            if now.saturating_sub(since) > Duration::from_secs(seconds) {
                take
            } else {
                Move::Wait
            }
        }
    }
}

/// Whether the Lease has no holder, since the last one released it.
pub(super) fn is_free(lease: &Lease) -> bool {
    let holder = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref());
    holder.is_none_or(str::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use kube::api::ObjectMeta;

    fn lease(holder: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.into()),
                ..Default::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.into()),
                lease_duration_seconds: Some(15),
                lease_transitions: Some(4),
                ..Default::default()
            }),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_free_lease_is_taken_at_once_with_one_more_transition() {
        assert_eq!(
            decide(None, &mut Observed::default(), at(0), "me"),
            Move::Create
        );
        let free = lease("", "1");
        assert_eq!(
            decide(Some(&free), &mut Observed::default(), at(0), "me"),
            Move::Take { transitions: 5 }
        );
    }

    #[test]
    fn a_lease_runs_out_by_the_time_of_its_last_observed_change_not_by_the_times_in_it() {
        let mut observed = Observed::default();
        let held = lease("other", "1");
        assert_eq!(
            decide(Some(&held), &mut observed, at(1000), "me"),
            Move::Wait
        );
        assert_eq!(
            decide(Some(&held), &mut observed, at(1015), "me"),
            Move::Wait
        );
        assert_eq!(
            decide(Some(&held), &mut observed, at(1016), "me"),
            Move::Take { transitions: 5 }
        );
    }

    #[test]
    fn a_renewal_starts_the_wait_again() {
        let mut observed = Observed::default();
        assert_eq!(
            decide(Some(&lease("other", "1")), &mut observed, at(0), "me"),
            Move::Wait
        );
        assert_eq!(
            decide(Some(&lease("other", "2")), &mut observed, at(14), "me"),
            Move::Wait
        );
        assert_eq!(
            decide(Some(&lease("other", "2")), &mut observed, at(28), "me"),
            Move::Wait
        );
    }

    #[test]
    fn our_own_lease_is_taken_again_without_a_transition() {
        let own = lease("me", "1");
        assert_eq!(
            decide(Some(&own), &mut Observed::default(), at(0), "me"),
            Move::Take { transitions: 4 }
        );
    }
}
