//! Whose callback is sent next. Pure.
//!
//! Each receiver of each namespace has a lane, and lanes take turns: a receiver that does not
//! answer holds up its own lane, and at most its bound's share of all that is under way.

use std::collections::{HashMap, VecDeque};

/// A receiver as a namespace names it. Two namespaces' lanes to one receiver share its bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The jobs' namespace.
    pub namespace: Box<str>,
    /// The URL's host and port.
    pub receiver: Box<str>,
}

/// Most deliveries at a time.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of all.
    pub total: usize,
    /// From one namespace.
    pub namespace: usize,
    /// To one receiver.
    pub receiver: usize,
}

/// The due callbacks, by the jobs' uids.
#[derive(Debug)]
pub struct Lanes {
    bounds: Bounds,
    /// In the order of their coming; a uid that is not in `waiting` any more is passed over.
    queues: HashMap<Lane, VecDeque<String>>,
    /// The lanes that have a queue, in the order of their turns.
    turns: VecDeque<Lane>,
    waiting: HashMap<String, Lane>,
    in_flight: HashMap<String, Lane>,
    by_namespace: HashMap<Box<str>, usize>,
    by_receiver: HashMap<Box<str>, usize>,
}

impl Lanes {
    /// None yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            queues: HashMap::new(),
            turns: VecDeque::new(),
            waiting: HashMap::new(),
            in_flight: HashMap::new(),
            by_namespace: HashMap::new(),
            by_receiver: HashMap::new(),
        }
    }

    /// A job's callback is due; nothing changes where it waits already, or is under way.
    pub fn push(&mut self, uid: &str, lane: Lane) {
        if self.waiting.contains_key(uid) || self.in_flight.contains_key(uid) {
            return;
        }
        let queue = self.queues.entry(lane.clone()).or_insert_with(|| {
            self.turns.push_back(lane.clone());
            VecDeque::new()
        });
        queue.push_back(uid.to_owned());
        self.waiting.insert(uid.to_owned(), lane);
    }

    /// The job is gone: it does not wait any more. What is under way goes on to its end.
    pub fn remove(&mut self, uid: &str) {
        self.waiting.remove(uid);
    }

    /// Takes the next callback that the bounds leave room for; it is under way until
    /// [`Lanes::left`].
    pub fn next(&mut self) -> Option<String> {
        if self.in_flight.len() >= self.bounds.total {
            return None;
        }
        // Each lane once: those without room keep their turn.
        let mut index = 0;
        while let Some(lane) = self.turns.get(index).cloned() {
            if !self.has_room(&lane) {
                index += 1;
                continue;
            }
            self.turns.remove(index);
            let Some(queue) = self.queues.get_mut(&lane) else {
                continue;
            };
            let waiting = &mut self.waiting;
            let taken = std::iter::from_fn(|| queue.pop_front())
                .find(|uid| waiting.get(uid) == Some(&lane) && waiting.remove(uid).is_some());
            if queue.is_empty() {
                self.queues.remove(&lane);
            } else {
                self.turns.push_back(lane.clone());
            }
            if let Some(uid) = taken {
                *self.by_namespace.entry(lane.namespace.clone()).or_default() += 1;
                *self.by_receiver.entry(lane.receiver.clone()).or_default() += 1;
                self.in_flight.insert(uid.clone(), lane);
                return Some(uid);
            }
        }
        None
    }

    /// A callback that [`Lanes::next`] gave has been dealt with.
    pub fn left(&mut self, uid: &str) {
        if let Some(lane) = self.in_flight.remove(uid) {
            decrement(&mut self.by_namespace, &lane.namespace);
            decrement(&mut self.by_receiver, &lane.receiver);
        }
    }

    fn has_room(&self, lane: &Lane) -> bool {
        let of = |map: &HashMap<Box<str>, usize>, key| map.get(key).copied().unwrap_or_default();
        of(&self.by_namespace, &lane.namespace) < self.bounds.namespace
            && of(&self.by_receiver, &lane.receiver) < self.bounds.receiver
    }
}

/// Keeps the table as small as the work.
fn decrement(map: &mut HashMap<Box<str>, usize>, key: &str) {
    if let Some(count) = map.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            map.remove(key);
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

    fn lane(namespace: &str, receiver: &str) -> Lane {
        Lane {
            namespace: namespace.into(),
            receiver: receiver.into(),
        }
    }

    fn all(lanes: &mut Lanes) -> Vec<String> {
        std::iter::from_fn(|| lanes.next()).collect()
    }

    #[test]
    fn a_receiver_that_does_not_answer_holds_up_nobody_else() {
        let mut lanes = Lanes::new(BOUNDS);
        for number in 0..1000 {
            lanes.push(&format!("dead-{number}"), lane("a", "dead"));
        }
        assert_eq!(all(&mut lanes), ["dead-0", "dead-1"]);
        lanes.push("alive", lane("a", "alive"));
        assert_eq!(all(&mut lanes), ["alive"]);
        lanes.left("dead-0");
        assert_eq!(all(&mut lanes), ["dead-2"]);
    }

    #[test]
    fn a_namespace_full_of_dead_receivers_leaves_room_for_another() {
        let mut lanes = Lanes::new(BOUNDS);
        for number in 0..100 {
            lanes.push(&format!("x{number}"), lane("a", &format!("dead-{number}")));
        }
        assert_eq!(all(&mut lanes).len(), 4);
        lanes.push("other", lane("b", "alive"));
        assert_eq!(all(&mut lanes), ["other"]);
    }

    #[test]
    fn two_namespaces_share_a_receiver_s_bound() {
        let mut lanes = Lanes::new(BOUNDS);
        for number in 0..3 {
            lanes.push(&format!("a{number}"), lane("a", "hook"));
            lanes.push(&format!("b{number}"), lane("b", "hook"));
        }
        assert_eq!(all(&mut lanes), ["a0", "b0"]);
    }

    #[test]
    fn lanes_take_turns() {
        let mut lanes = Lanes::new(Bounds {
            receiver: 9,
            namespace: 9,
            total: 9,
        });
        for uid in ["a0", "a1", "a2", "b0", "b1"] {
            lanes.push(uid, lane("ns", &uid[..1]));
        }
        assert_eq!(all(&mut lanes), ["a0", "b0", "a1", "b1", "a2"]);
    }

    #[test]
    fn a_callback_waits_once_and_a_removed_one_not_at_all() {
        let mut lanes = Lanes::new(BOUNDS);
        for uid in ["a", "a", "b", "c"] {
            lanes.push(uid, lane("ns", "hook"));
        }
        lanes.remove("b");
        assert_eq!(all(&mut lanes), ["a", "c"]);
        lanes.push("a", lane("ns", "hook"));
        assert!(all(&mut lanes).is_empty(), "it is under way");
        lanes.left("a");
        assert!(all(&mut lanes).is_empty());
        // Removed and due again, while its old place is still in the queue.
        lanes.left("c");
        for uid in ["d", "e"] {
            lanes.push(uid, lane("ns", "hook"));
        }
        lanes.remove("d");
        lanes.push("d", lane("ns", "hook"));
        assert_eq!(all(&mut lanes), ["d", "e"]);
    }

    proptest! {
        /// Every callback is taken exactly once, no bound is passed, and nothing is remembered.
        #[test]
        fn every_callback_has_its_turn(
            due in prop::collection::btree_map(0u32..1000, (0u8..3, 0u8..4), 0..80),
            finish in prop::collection::vec(any::<prop::sample::Index>(), 400),
        ) {
            let mut lanes = Lanes::new(BOUNDS);
            for (uid, (namespace, receiver)) in &due {
                lanes.push(&uid.to_string(), lane(&namespace.to_string(), &receiver.to_string()));
            }
            let mut under_way: Vec<String> = Vec::new();
            let mut taken = Vec::new();
            for pick in finish {
                while let Some(uid) = lanes.next() {
                    taken.push(uid.clone());
                    under_way.push(uid);
                }
                prop_assert!(under_way.len() <= BOUNDS.total);
                prop_assert!(lanes.by_namespace.values().all(|count| *count <= BOUNDS.namespace));
                prop_assert!(lanes.by_receiver.values().all(|count| *count <= BOUNDS.receiver));
                if !under_way.is_empty() {
                    let uid = under_way.swap_remove(pick.index(under_way.len()));
                    lanes.left(&uid);
                }
            }
            taken.sort();
            taken.dedup();
            prop_assert_eq!(taken.len(), due.len());
            prop_assert!(lanes.queues.is_empty() && lanes.turns.is_empty() && lanes.waiting.is_empty());
            prop_assert!(lanes.by_namespace.is_empty() && lanes.by_receiver.is_empty());
        }
    }
}
