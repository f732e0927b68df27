//! Whose callback is sent next. Pure.
//!
//! Namespaces take turns, and so do the receivers of each: a receiver that does not answer holds up
//! those that wait for it, and at most its bound's share of all that is under way.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// A receiver as a namespace names it. Two namespaces' lanes to one receiver share its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What waits of one namespace.
#[derive(Debug, Default)]
struct Tenant {
    /// By receiver, each in the order of their coming.
    queues: HashMap<Box<str>, BTreeMap<u64, String>>,
    /// The receivers that have a queue, in the order of their turns.
    turns: VecDeque<Box<str>>,
}

/// The due callbacks, by the jobs' uids.
#[derive(Debug)]
pub struct Lanes {
    bounds: Bounds,
    tenants: HashMap<Box<str>, Tenant>,
    /// The namespaces that have a queue, in the order of their turns.
    turns: VecDeque<Box<str>>,
    /// Each with its number in its queue.
    waiting: HashMap<String, (Lane, u64)>,
    in_flight: HashMap<String, Lane>,
    by_namespace: HashMap<Box<str>, usize>,
    by_receiver: HashMap<Box<str>, usize>,
    /// The number of the latest that came.
    latest: u64,
}

impl Lanes {
    /// None yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            tenants: HashMap::new(),
            turns: VecDeque::new(),
            waiting: HashMap::new(),
            in_flight: HashMap::new(),
            by_namespace: HashMap::new(),
            by_receiver: HashMap::new(),
            latest: 0,
        }
    }

    /// How many wait, and how many are under way.
    pub fn count(&self) -> (usize, usize) {
        (self.waiting.len(), self.in_flight.len())
    }

    /// A job's callback is due; nothing changes where it waits already, or is under way.
    pub fn push(&mut self, uid: &str, lane: Lane) {
        if self.waiting.contains_key(uid) || self.in_flight.contains_key(uid) {
            return;
        }
        let Lane {
            namespace,
            receiver,
        } = &lane;
        let tenant = self.tenants.entry(namespace.clone()).or_insert_with(|| {
            self.turns.push_back(namespace.clone());
            Tenant::default()
        });
        let queue = tenant.queues.entry(receiver.clone()).or_insert_with(|| {
            tenant.turns.push_back(receiver.clone());
            BTreeMap::new()
        });
        self.latest += 1;
        queue.insert(self.latest, uid.to_owned());
        self.waiting.insert(uid.to_owned(), (lane, self.latest));
    }

    /// The job is gone: it does not wait any more. What is under way goes on to its end.
    pub fn remove(&mut self, uid: &str) {
        if let Some((lane, number)) = self.waiting.remove(uid) {
            let tenant = self.tenants.get_mut(&lane.namespace);
            if let Some(queue) = tenant.and_then(|tenant| tenant.queues.get_mut(&lane.receiver)) {
                queue.remove(&number);
            }
            self.forget_if_empty(&lane);
        }
    }

    /// Takes the next callback that the bounds leave room for; it is under way until
    /// [`Lanes::left`].
    pub fn take(&mut self) -> Option<String> {
        if self.in_flight.len() >= self.bounds.total {
            return None;
        }
        // Who has no room keeps the turn.
        let lane = self.turns.iter().find_map(|namespace| {
            let under_way = self.by_namespace.get(namespace).copied();
            if under_way.unwrap_or_default() >= self.bounds.namespace {
                return None;
            }
            let mut receivers = self.tenants.get(namespace)?.turns.iter();
            let receiver = receivers.find(|receiver| {
                let under_way = self.by_receiver.get(*receiver).copied();
                under_way.unwrap_or_default() < self.bounds.receiver
            })?;
            Some(Lane {
                namespace: namespace.clone(),
                receiver: receiver.clone(),
            })
        })?;
        let tenant = self.tenants.get_mut(&lane.namespace)?;
        let (_, uid) = tenant.queues.get_mut(&lane.receiver)?.pop_first()?;
        to_the_end(&mut tenant.turns, &lane.receiver);
        to_the_end(&mut self.turns, &lane.namespace);
        self.forget_if_empty(&lane);
        self.waiting.remove(&uid);
        *self.by_namespace.entry(lane.namespace.clone()).or_default() += 1;
        *self.by_receiver.entry(lane.receiver.clone()).or_default() += 1;
        self.in_flight.insert(uid.clone(), lane);
        Some(uid)
    }

    /// A callback that [`Lanes::take`] gave has been dealt with.
    pub fn left(&mut self, uid: &str) {
        if let Some(lane) = self.in_flight.remove(uid) {
            decrement(&mut self.by_namespace, &lane.namespace);
            decrement(&mut self.by_receiver, &lane.receiver);
        }
    }

    /// Keeps the tables as small as the work.
    fn forget_if_empty(&mut self, lane: &Lane) {
        let Some(tenant) = self.tenants.get_mut(&lane.namespace) else {
            return;
        };
        if tenant
            .queues
            .get(&lane.receiver)
            .is_some_and(BTreeMap::is_empty)
        {
            tenant.queues.remove(&lane.receiver);
            tenant.turns.retain(|each| *each != lane.receiver);
        }
        if tenant.queues.is_empty() {
            self.tenants.remove(&lane.namespace);
            self.turns.retain(|each| *each != lane.namespace);
        }
    }
}

fn to_the_end(turns: &mut VecDeque<Box<str>>, whose: &str) {
    if let Some(index) = turns.iter().position(|each| **each == *whose) {
        turns.remove(index);
        turns.push_back(whose.into());
    }
}

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
        std::iter::from_fn(|| lanes.take()).collect()
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
    fn namespaces_take_turns_and_so_do_the_receivers_of_each() {
        let mut lanes = Lanes::new(Bounds {
            receiver: 9,
            namespace: 9,
            total: 9,
        });
        for uid in ["a-x0", "a-x1", "a-x2", "a-y0", "b-x0", "b-x1"] {
            lanes.push(uid, lane(&uid[..1], &uid[2..3]));
        }
        let order = ["a-x0", "b-x0", "a-y0", "b-x1", "a-x1", "a-x2"];
        assert_eq!(all(&mut lanes), order);
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
        assert!(all(&mut lanes).is_empty(), "it was told of while under way");
        // Removed and due again: it has lost its place.
        lanes.left("c");
        for uid in ["d", "e"] {
            lanes.push(uid, lane("ns", "hook"));
        }
        lanes.remove("d");
        lanes.push("d", lane("ns", "hook"));
        assert_eq!(all(&mut lanes), ["e", "d"]);
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
                while let Some(uid) = lanes.take() {
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
            prop_assert_eq!(lanes.count(), (0, 0));
            prop_assert!(lanes.tenants.is_empty() && lanes.turns.is_empty() && lanes.waiting.is_empty());
            prop_assert!(lanes.by_namespace.is_empty() && lanes.by_receiver.is_empty());
        }
    }
}
