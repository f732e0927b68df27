//! Decides the Deployment's replicas, and which pods are removed. Pure.
//!
//! Scaling up happens at once. For scaling down, pods are marked: first those that are not ready, then
//! those with the fewest jobs. The dispatcher gives marked pods no new jobs, and the replicas are lowered
//! once they are idle or a timeout has passed. Kubernetes removes them first by their pod-deletion-cost.

use crate::time::later;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time after its mark at which a runner may count as idle: by then the dispatcher knows about the mark.
const KNOWN_AFTER: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub name: String,
    pub ready: bool,
    pub jobs: u32,
    pub created: Timestamp,
}

/// The marked pods, and since when they are marked.
pub(crate) type Leaving = BTreeMap<String, Timestamp>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub replicas: u32,
    pub leaving: Leaving,
    /// When to reconcile again, unless something changes before.
    pub due: Option<Timestamp>,
}

/// Scales from `present`, the Deployment's present replicas (`None`: there is no Deployment), to
/// `desired`.
pub(crate) fn decide(
    desired: u32,
    present: Option<u32>,
    candidates: &[Candidate],
    before: &Leaving,
    now: Timestamp,
    timeout: Duration,
) -> Decision {
    let present = present.unwrap_or(desired);
    if present <= desired {
        // Marked pods stay marked until Kubernetes has deleted as many as are too many.
        let still = candidates.len().saturating_sub(desired as usize);
        let marked = candidates
            .iter()
            .filter_map(|candidate| before.get_key_value(&candidate.name));
        return Decision {
            replicas: desired,
            leaving: marked
                .take(still)
                .map(|(name, since)| (name.clone(), *since))
                .collect(),
            due: None,
        };
    }
    let excess = (present - desired) as usize;
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_by_key(|candidate| {
        let marked = before.contains_key(&candidate.name);
        (
            candidate.ready,
            !marked,
            candidate.jobs,
            std::cmp::Reverse(candidate.created),
            &candidate.name,
        )
    });
    let leaving: Leaving = order
        .iter()
        .take(excess)
        .map(|candidate| {
            (
                candidate.name.clone(),
                before.get(&candidate.name).copied().unwrap_or(now),
            )
        })
        .collect();
    let may_go = |candidate: &&Candidate| {
        let Some(since) = leaving.get(&candidate.name) else {
            return true;
        };
        let passed = |span: Duration| later(*since, span) <= now;
        !candidate.ready || (candidate.jobs == 0 && passed(KNOWN_AFTER)) || passed(timeout)
    };
    // Kubernetes removes unready pods first, and then the marked ones, all at once: none may be busy.
    if order.iter().all(may_go) {
        return Decision {
            replicas: desired,
            leaving,
            due: None,
        };
    }
    let times = leaving
        .values()
        .flat_map(|since| [later(*since, KNOWN_AFTER), later(*since, timeout)]);
    Decision {
        replicas: present,
        due: times.filter(|time| *time > now).min(),
        leaving,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;
    use proptest::prelude::*;

    const TIMEOUT: Duration = Duration::from_mins(10);

    fn candidate(name: &str, ready: bool, jobs: u32) -> Candidate {
        Candidate {
            name: name.to_owned(),
            ready,
            jobs,
            created: at(0),
        }
    }

    fn names(decision: &Decision) -> Vec<&str> {
        decision.leaving.keys().map(String::as_str).collect()
    }

    #[test]
    fn scaling_up_is_immediate_and_marks_no_pod() {
        let marked = Leaving::from([("a".to_owned(), at(0))]);
        let candidates = [candidate("a", true, 1)];
        let decision = decide(3, Some(1), &candidates, &marked, at(1), TIMEOUT);
        assert_eq!((decision.replicas, names(&decision)), (3, vec![]));
        let first = decide(2, None, &[], &Leaving::new(), at(0), TIMEOUT);
        assert_eq!(first.replicas, 2);
    }

    #[test]
    fn the_runner_with_the_fewest_jobs_is_removed_once_it_is_idle() {
        let busy = [
            candidate("a", true, 3),
            candidate("b", true, 1),
            candidate("c", true, 2),
        ];
        let first = decide(2, Some(3), &busy, &Leaving::new(), at(0), TIMEOUT);
        assert_eq!((first.replicas, names(&first)), (3, vec!["b"]));
        assert_eq!(first.due, Some(at(5)));
        let idle = [
            candidate("a", true, 0),
            candidate("b", true, 0),
            candidate("c", true, 2),
        ];
        let then = decide(2, Some(3), &idle, &first.leaving, at(6), TIMEOUT);
        assert_eq!((then.replicas, names(&then)), (2, vec!["b"]));
    }

    #[test]
    fn an_idle_runner_is_removed_only_once_the_dispatcher_knows_of_its_mark() {
        let idle = [candidate("a", true, 0), candidate("b", true, 5)];
        let first = decide(1, Some(2), &idle, &Leaving::new(), at(0), TIMEOUT);
        assert_eq!(first.replicas, 2);
        for (second, replicas) in [(4, 2), (5, 1)] {
            let then = decide(1, Some(2), &idle, &first.leaving, at(second), TIMEOUT);
            assert_eq!(then.replicas, replicas);
        }
    }

    #[test]
    fn a_pod_stays_marked_until_it_is_deleted() {
        let marked = Leaving::from([("b".to_owned(), at(0))]);
        let candidates = [candidate("a", true, 0), candidate("b", true, 0)];
        let both = decide(1, Some(1), &candidates, &marked, at(9), TIMEOUT);
        assert_eq!(names(&both), ["b"]);
        let one = decide(1, Some(1), &candidates[..1], &marked, at(9), TIMEOUT);
        assert!(one.leaving.is_empty());
    }

    #[test]
    fn an_unready_runner_is_removed_first_and_at_once() {
        let candidates = [candidate("a", true, 0), candidate("b", false, 0)];
        let decision = decide(1, Some(2), &candidates, &Leaving::new(), at(0), TIMEOUT);
        assert_eq!((decision.replicas, names(&decision)), (1, vec!["b"]));
    }

    #[test]
    fn a_busy_runner_is_removed_after_the_timeout() {
        let busy = [candidate("a", true, 1)];
        let marked = Leaving::from([("a".to_owned(), at(0))]);
        for (second, replicas) in [(599, 1), (600, 0)] {
            let decision = decide(0, Some(1), &busy, &marked, at(second), TIMEOUT);
            assert_eq!(decision.replicas, replicas);
        }
    }

    proptest! {
        #[test]
        fn replicas_stay_between_desired_and_present_and_busy_runners_until_the_timeout(
            desired in 0_u32..5, present in 0_u32..8,
            pods in prop::collection::vec((any::<bool>(), 0_u32..3), 0..8),
            waited in 0_i64..700,
        ) {
            let candidates: Vec<Candidate> = pods.iter().enumerate()
                .map(|(index, (ready, jobs))| candidate(&format!("p{index}"), *ready, *jobs)).collect();
            let first = decide(desired, Some(present), &candidates, &Leaving::new(), at(0), TIMEOUT);
            let then = decide(desired, Some(present), &candidates, &first.leaving, at(waited), TIMEOUT);
            prop_assert!(then.replicas >= desired && then.replicas <= present.max(desired));
            prop_assert_eq!(&then.leaving, &first.leaving, "marks are kept");
            let goes = |candidate: &&Candidate| then.replicas == desired && then.leaving.contains_key(&candidate.name);
            for candidate in candidates.iter().filter(goes) {
                prop_assert!(!candidate.ready || candidate.jobs == 0 || waited >= 600, "{:?}", candidate);
            }
            let due = then.due.is_none_or(|due| due > at(waited));
            prop_assert!(due);
        }
    }
}
