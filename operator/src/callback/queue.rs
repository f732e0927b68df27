//! The order of due callbacks. Pure.
//!
//! Namespaces take turns, and so do the receivers of each. A receiver that does not answer holds up
//! only the callbacks to itself, and takes at most its bound of all deliveries under way.

use crate::fair_queue::{Candidate, FairQueue, Item, Shares};
use std::collections::HashMap;
use std::time::Duration;

/// What a delivery costs its namespace: all the same.
const TURN: Duration = Duration::from_secs(1);

/// Upper bounds on deliveries under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Deliveries of all namespaces together.
    pub total: usize,
    /// Deliveries of one namespace.
    pub namespace: u32,
    /// To one receiver, from all namespaces together.
    pub receiver: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct Due {
    uid: String,
    namespace: String,
    receiver: String,
    number: u64,
}

impl Item for Due {
    type Order = u64;
    const LANES_TAKE_TURNS: bool = true;

    fn id(&self) -> &str {
        &self.uid
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn lane(&self) -> &str {
        &self.receiver
    }

    fn order(&self) -> u64 {
        self.number
    }
}

#[derive(Debug)]
pub(crate) struct CallbackQueue {
    bounds: Bounds,
    shares: Shares,
    waiting: FairQueue<Due>,
    in_flight: HashMap<String, Due>,
    by_receiver: HashMap<String, usize>,
    latest: u64,
}

impl CallbackQueue {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            shares: Shares {
                max_in_flight: Some(bounds.namespace),
                ..Shares::default()
            },
            waiting: FairQueue::default(),
            in_flight: HashMap::new(),
            by_receiver: HashMap::new(),
            latest: 0,
        }
    }

    /// The number of callbacks that wait, and of those under way.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.waiting.len(), self.in_flight.len())
    }

    /// The number of namespaces that are remembered.
    pub(crate) fn namespaces(&self) -> usize {
        self.waiting.namespaces()
    }

    /// Adds the due callback of a job; does nothing where it waits already or is under way.
    pub(crate) fn push(&mut self, uid: &str, (namespace, receiver): (&str, &str)) {
        if self.waiting.contains(uid) || self.in_flight.contains_key(uid) {
            return;
        }
        self.latest += 1;
        self.waiting.push(Due {
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            receiver: receiver.to_owned(),
            number: self.latest,
        });
    }

    /// Removes the callback of a job that is gone. One that is under way goes on to its end.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.waiting.remove(uid);
    }

    /// Takes the next callback that the bounds leave room for; it is under way until
    /// [`CallbackQueue::finished`].
    pub(crate) fn pop(&mut self) -> Option<String> {
        if self.in_flight.len() >= self.bounds.total {
            return None;
        }
        let (by_receiver, most) = (&self.by_receiver, self.bounds.receiver);
        let may = |due: Candidate<'_>| by_receiver.get(due.lane).is_none_or(|now| *now < most);
        let (due, _) = self.waiting.pop(&self.shares, may, |_| TURN)?;
        *self.by_receiver.entry(due.receiver.clone()).or_default() += 1;
        let uid = due.uid.clone();
        self.in_flight.insert(uid.clone(), due);
        Some(uid)
    }

    /// A callback that [`CallbackQueue::pop`] returned is no longer under way.
    pub(crate) fn finished(&mut self, uid: &str) {
        let Some(due) = self.in_flight.remove(uid) else {
            return;
        };
        self.waiting.finished(&due.namespace);
        if let Some(count) = self.by_receiver.get_mut(&due.receiver) {
            *count -= 1;
            if *count == 0 {
                self.by_receiver.remove(&due.receiver);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds {
        total: 6,
        namespace: 4,
        receiver: 2,
    };

    fn all(queue: &mut CallbackQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_receiver_that_does_not_answer_delays_no_other() {
        let mut queue = CallbackQueue::new(BOUNDS);
        for number in 0..1000 {
            queue.push(&format!("dead-{number}"), ("a", "dead"));
        }
        assert_eq!(all(&mut queue), ["dead-0", "dead-1"]);
        queue.push("alive", ("a", "alive"));
        assert_eq!(all(&mut queue), ["alive"]);
        queue.finished("dead-0");
        assert_eq!(all(&mut queue), ["dead-2"]);
    }

    #[test]
    fn a_namespace_full_of_dead_receivers_leaves_room_for_another() {
        let mut queue = CallbackQueue::new(BOUNDS);
        for number in 0..100 {
            queue.push(&format!("x{number}"), ("a", &format!("dead-{number}")));
        }
        assert_eq!(all(&mut queue).len(), 4);
        queue.push("other", ("b", "alive"));
        assert_eq!(all(&mut queue), ["other"]);
    }

    #[test]
    fn two_namespaces_share_a_receiver_s_bound() {
        let mut queue = CallbackQueue::new(BOUNDS);
        for number in 0..3 {
            queue.push(&format!("a{number}"), ("a", "hook"));
            queue.push(&format!("b{number}"), ("b", "hook"));
        }
        assert_eq!(all(&mut queue), ["a0", "b0"]);
    }

    #[test]
    fn namespaces_take_turns_and_so_do_the_receivers_of_each() {
        let mut queue = CallbackQueue::new(Bounds {
            receiver: 9,
            namespace: 9,
            total: 9,
        });
        for uid in ["a-x0", "a-x1", "a-x2", "a-y0", "b-x0", "b-x1"] {
            queue.push(uid, (&uid[..1], &uid[2..3]));
        }
        let order = ["a-x0", "b-x0", "a-y0", "b-x1", "a-x1", "a-x2"];
        assert_eq!(all(&mut queue), order);
    }

    /// One slot, and a receiver whose next callback is due whenever one has been sent.
    #[test]
    fn a_receiver_that_always_has_one_more_does_not_hold_up_the_others() {
        let mut queue = CallbackQueue::new(Bounds {
            receiver: 1,
            namespace: 1,
            total: 1,
        });
        for uid in ["y0", "y1", "y2", "x0"] {
            queue.push(uid, ("ns", &uid[..1]));
        }
        let mut order = Vec::new();
        for next in ["x1", "x2", "x3", "x4", "x5", "x6"] {
            let mut sent = all(&mut queue);
            assert_eq!(sent.len(), 1);
            let sent = sent.remove(0);
            queue.finished(&sent);
            if sent.starts_with('x') {
                queue.push(next, ("ns", "x"));
            }
            order.push(sent);
        }
        let receivers: String = order.iter().map(|uid| &uid[..1]).collect();
        assert!(
            !receivers.contains("xx") && !receivers.contains("yyy"),
            "{order:?}"
        );
        assert!(order.contains(&"y2".to_owned()), "{order:?}");
    }

    #[test]
    fn a_callback_waits_once_and_a_removed_one_not_at_all() {
        let mut queue = CallbackQueue::new(BOUNDS);
        for uid in ["a", "a", "b", "c"] {
            queue.push(uid, ("ns", "hook"));
        }
        queue.remove("b");
        assert_eq!(all(&mut queue), ["a", "c"]);
        queue.push("a", ("ns", "hook"));
        assert!(all(&mut queue).is_empty(), "it is under way");
        queue.finished("a");
        assert!(
            all(&mut queue).is_empty(),
            "a push while it is under way counts for nothing"
        );
        // A callback that is removed and due again goes to the end.
        queue.finished("c");
        for uid in ["d", "e"] {
            queue.push(uid, ("ns", "hook"));
        }
        queue.remove("d");
        queue.push("d", ("ns", "hook"));
        assert_eq!(all(&mut queue), ["e", "d"]);
    }

    proptest! {
        /// Every callback is popped exactly once, no bound is exceeded, and nothing is remembered.
        #[test]
        fn every_callback_is_popped_once_within_the_bounds(
            due in prop::collection::btree_map(0u32..1000, (0u8..3, 0u8..4), 0..80),
            finish in prop::collection::vec(any::<prop::sample::Index>(), 400),
        ) {
            let mut queue = CallbackQueue::new(BOUNDS);
            for (uid, (namespace, receiver)) in &due {
                queue.push(&uid.to_string(), (&namespace.to_string(), &receiver.to_string()));
            }
            let mut under_way: Vec<String> = Vec::new();
            let mut popped = Vec::new();
            for pick in finish {
                while let Some(uid) = queue.pop() {
                    popped.push(uid.clone());
                    under_way.push(uid);
                }
                prop_assert!(under_way.len() <= BOUNDS.total);
                prop_assert!(queue.waiting.in_flight().all(|count| count <= BOUNDS.namespace));
                prop_assert!(queue.by_receiver.values().all(|count| *count <= BOUNDS.receiver));
                if !under_way.is_empty() {
                    let uid = under_way.swap_remove(pick.index(under_way.len()));
                    queue.finished(&uid);
                }
            }
            popped.sort();
            popped.dedup();
            prop_assert_eq!(popped.len(), due.len());
            prop_assert_eq!(queue.count(), (0, 0));
            prop_assert!(queue.waiting.remembers_nothing() && queue.in_flight.is_empty());
            prop_assert!(queue.by_receiver.is_empty());
        }
    }
}
