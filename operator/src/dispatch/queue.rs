//! The waiting jobs of one pool: fair between namespaces, then by priority, then by age. Pure.

use crate::fair_queue::{FairQueue, Item};
use jiff::Timestamp;
use std::cmp::Reverse;

pub(crate) use crate::fair_queue::Shares;

/// The waiting jobs of one pool. A model is a lane: a job whose model has no free runner does not
/// hold up jobs of other models.
pub(crate) type Queue = FairQueue<Waiting>;

/// One waiting job, as far as its order goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub uid: String,
    pub namespace: String,
    pub model: String,
    pub priority: i32,
    pub created: Timestamp,
}

impl Item for Waiting {
    /// Higher priority first, then older.
    type Order = (Reverse<i32>, Timestamp);
    /// Priority and age count across models.
    const LANES_TAKE_TURNS: bool = false;

    fn id(&self) -> &str {
        &self.uid
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn lane(&self) -> &str {
        &self.model
    }

    fn order(&self) -> Self::Order {
        (Reverse(self.priority), self.created)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::Duration;

    fn job(namespace: &str, number: i64, priority: i32) -> Waiting {
        Waiting {
            uid: format!("{namespace}-{number:03}"),
            namespace: namespace.into(),
            model: "blip".into(),
            priority,
            created: Timestamp::from_second(number).unwrap(),
        }
    }

    /// The next job, where all cost the same.
    fn pop(queue: &mut Queue, shares: &Shares) -> Option<Waiting> {
        let second = Duration::from_secs(1);
        let (job, charged) = queue.pop(shares, |_| true, |_| second)?;
        assert_eq!(charged, second);
        Some(job)
    }

    fn drain(queue: &mut Queue, shares: &Shares) -> Vec<String> {
        std::iter::from_fn(|| {
            let job = pop(queue, shares)?;
            queue.finished(&job.namespace);
            Some(job.uid)
        })
        .collect()
    }

    #[test]
    fn jobs_beyond_their_namespace_s_share_are_not_runnable() {
        let mut queue = Queue::default();
        for number in 0..5 {
            queue.push(job("a", number, 0));
        }
        queue.push(job("b", 9, 0));
        assert_eq!(queue.runnable(&Shares::default()), 6);
        let two = Shares {
            max_in_flight: Some(2),
            ..Shares::default()
        };
        assert_eq!(queue.runnable(&two), 3);
        assert!(pop(&mut queue, &two).is_some());
        assert_eq!(queue.runnable(&two), 2);
    }

    #[test]
    fn within_a_namespace_priority_goes_before_age() {
        let mut queue = Queue::default();
        for (number, priority) in [(3, 0), (1, 0), (2, 0), (9, 5), (8, -5)] {
            queue.push(job("a", number, priority));
        }
        assert_eq!(
            drain(&mut queue, &Shares::default()),
            ["a-009", "a-001", "a-002", "a-003", "a-008"]
        );
    }

    #[test]
    fn a_namespace_with_a_thousand_jobs_does_not_hold_up_one_with_a_single_job() {
        let mut queue = Queue::default();
        for number in 0..1000 {
            queue.push(job("greedy", number, 1000));
        }
        pop(&mut queue, &Shares::default()).unwrap();
        queue.push(job("modest", 5000, -1000));
        let next: Vec<_> = (0..2)
            .map(|_| pop(&mut queue, &Shares::default()).unwrap().namespace)
            .collect();
        assert!(next.contains(&"modest".to_owned()), "{next:?}");
    }

    #[test]
    fn weights_divide_the_dispatches() {
        let mut queue = Queue::default();
        for number in 0..300 {
            queue.push(job("heavy", number, 0));
            queue.push(job("light", number, 0));
        }
        let shares = Shares {
            weights: HashMap::from([("heavy".into(), 3)]),
            ..Shares::default()
        };
        let heavy = (0..100)
            .filter(|_| {
                let job = pop(&mut queue, &shares).unwrap();
                queue.finished(&job.namespace);
                job.namespace == "heavy"
            })
            .count();
        assert!((73..=77).contains(&heavy), "{heavy} of 100");
    }

    #[test]
    fn a_namespace_at_its_bound_waits_until_one_of_its_jobs_finishes() {
        let mut queue = Queue::default();
        queue.push(job("a", 1, 0));
        queue.push(job("a", 2, 0));
        let shares = Shares {
            max_in_flight: Some(1),
            ..Default::default()
        };
        assert!(pop(&mut queue, &shares).is_some());
        assert!(pop(&mut queue, &shares).is_none());
        queue.finished("a");
        assert!(pop(&mut queue, &shares).is_some());
    }

    #[test]
    fn a_closed_namespace_holds_up_no_other() {
        let mut queue = Queue::default();
        queue.push(job("closed", 1, 9));
        queue.push(job("open", 2, 0));
        let shares = Shares {
            closed: ["closed".to_owned()].into(),
            ..Shares::default()
        };
        assert_eq!(queue.runnable(&shares), 1);
        assert_eq!(drain(&mut queue, &shares), ["open-002"]);
        assert_eq!(drain(&mut queue, &Shares::default()), ["closed-001"]);
    }

    #[test]
    fn a_namespace_that_was_closed_takes_turns_when_it_reopens() {
        let mut queue = Queue::default();
        let shares = Shares {
            closed: ["closed".to_owned()].into(),
            ..Shares::default()
        };
        for number in 0..40 {
            queue.push(job("closed", number, 0));
            queue.push(job("open", number, 0));
        }
        for _ in 0..20 {
            pop(&mut queue, &shares).unwrap();
        }
        queue.reopened("closed");
        let next = (0..10).map(|_| pop(&mut queue, &Shares::default()).unwrap().namespace);
        let closed = next.filter(|namespace| namespace == "closed").count();
        assert!((5..=6).contains(&closed), "{closed} of 10");
    }

    #[test]
    fn a_queue_that_never_empties_forgets_the_namespaces_that_were_deleted() {
        let mut queue = Queue::default();
        let mut most = 0;
        for number in 0..5000 {
            queue.push(job("stays", number, 0));
            queue.push(job(&format!("ci-{number}"), number, 0));
            for _ in 0..2 {
                let next = pop(&mut queue, &Shares::default()).unwrap();
                queue.finished(&next.namespace);
                if queue.len() == 0 {
                    queue.push(job("stays", number + 10_000, 0));
                }
            }
            most = most.max(queue.namespaces());
        }
        assert!(most < 200, "{most}");
    }

    #[test]
    fn a_job_whose_model_has_no_room_does_not_hold_up_another_model() {
        let mut queue = Queue::default();
        queue.push(job("a", 1, 9));
        queue.push(Waiting {
            model: "vit".into(),
            ..job("a", 2, 0)
        });
        assert_eq!(
            queue
                .pop(
                    &Shares::default(),
                    |next| next.lane == "vit",
                    |_| Duration::ZERO
                )
                .unwrap()
                .0
                .uid,
            "a-002"
        );
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_new_priority_moves_a_waiting_job() {
        let mut queue = Queue::default();
        queue.push(job("a", 1, 0));
        queue.push(job("a", 2, 0));
        queue.push(job("a", 2, 7));
        assert_eq!(drain(&mut queue, &Shares::default()), ["a-002", "a-001"]);
    }

    proptest! {
        #[test]
        fn every_job_is_popped_once_and_an_empty_queue_remembers_nothing(
            jobs in prop::collection::btree_set((0u8..4, 0i64..40), 0..60),
            priorities in prop::collection::vec(-3i32..3, 60),
        ) {
            let mut queue = Queue::default();
            for ((namespace, number), priority) in jobs.iter().zip(&priorities) {
                queue.push(job(&format!("n{namespace}"), *number, *priority));
            }
            let mut out = drain(&mut queue, &Shares::default());
            prop_assert_eq!(out.len(), jobs.len());
            out.sort();
            out.dedup();
            prop_assert_eq!(out.len(), jobs.len());
            prop_assert!(queue.remembers_nothing());
        }
    }
}
