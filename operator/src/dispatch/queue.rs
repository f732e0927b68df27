//! The order in which waiting jobs run: fair between namespaces, then priority, then age. Pure.
//!
//! Fairness is stride scheduling (Waldspurger and Weihl, 1995): each dispatch moves a namespace's
//! pass on by the inverse of its weight, and the least pass goes first. A namespace that has had
//! nothing to run begins at the pass of those that have, so that idleness earns no credit.

use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

/// One pass of weight 1.
const STRIDE: u64 = 1 << 20;

/// A job's place within its namespace: higher priority first, then older, then by uid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    priority: Reverse<i32>,
    created: Timestamp,
    uid: String,
}

/// One waiting job, as far as its order goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The job.
    pub uid: String,
    /// Its namespace, between which the queue is fair.
    pub namespace: String,
    /// The model it needs; a job whose model has no free runner does not hold up others.
    pub model: String,
    /// `spec.priority`.
    pub priority: i32,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
}

#[derive(Debug, Default)]
struct Tenant {
    /// By model.
    waiting: HashMap<String, BTreeSet<Place>>,
    in_flight: u32,
    pass: u64,
}

/// What a pool says about its tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Weight of a namespace; 1 where it has none.
    pub weights: HashMap<String, u32>,
    /// Most jobs of one namespace at a time.
    pub max_in_flight: Option<u32>,
}

/// The waiting jobs of one pool.
#[derive(Debug, Default)]
pub struct Queue {
    tenants: HashMap<String, Tenant>,
    places: HashMap<String, Waiting>,
    /// The pass of the latest dispatch.
    now: u64,
}

impl Queue {
    /// Jobs that wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Those of them that more runners would help: what its namespace's share holds back waits for
    /// the namespace's own jobs.
    pub fn runnable(&self, shares: &Shares) -> usize {
        let of = |tenant: &Tenant| {
            let waiting: usize = tenant.waiting.values().map(BTreeSet::len).sum();
            let most = shares.max_in_flight.unwrap_or(u32::MAX);
            waiting.min(most.saturating_sub(tenant.in_flight) as usize)
        };
        self.tenants.values().map(of).sum()
    }

    /// The jobs that wait, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.places.values()
    }

    /// Adds a job, or moves it where its priority has changed.
    pub fn push(&mut self, job: Waiting) {
        if self.places.get(&job.uid) == Some(&job) {
            return;
        }
        self.remove(&job.uid);
        let tenant = self.tenants.entry(job.namespace.clone()).or_default();
        if tenant.waiting.is_empty() && tenant.in_flight == 0 {
            tenant.pass = tenant.pass.max(self.now);
        }
        tenant
            .waiting
            .entry(job.model.clone())
            .or_default()
            .insert(place(&job));
        self.places.insert(job.uid.clone(), job);
    }

    /// Takes a job out, wherever it stands; false where it does not wait here.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(job) = self.places.remove(uid) else {
            return false;
        };
        if let Some(tenant) = self.tenants.get_mut(&job.namespace) {
            if let Some(places) = tenant.waiting.get_mut(&job.model) {
                places.remove(&place(&job));
                if places.is_empty() {
                    tenant.waiting.remove(&job.model);
                }
            }
            self.forget_if_idle(&job.namespace);
        }
        true
    }

    /// Takes the next job whose model `has_room`, and counts it in flight until
    /// [`Queue::finished`].
    pub fn pop(&mut self, shares: &Shares, has_room: impl Fn(&str) -> bool) -> Option<Waiting> {
        let (pass, namespace, uid) = self
            .tenants
            .iter()
            .filter(|(_, tenant)| {
                shares
                    .max_in_flight
                    .is_none_or(|most| tenant.in_flight < most)
            })
            .filter_map(|(namespace, tenant)| {
                let first = tenant
                    .waiting
                    .iter()
                    .filter(|(model, _)| has_room(model))
                    .filter_map(|(_, places)| places.first())
                    .min()?;
                Some((tenant.pass, namespace, &first.uid))
            })
            .min()?;
        let (namespace, uid) = (namespace.clone(), uid.clone());
        self.now = pass;
        let job = self.places.get(&uid)?.clone();
        let weight = u64::from(shares.weights.get(&namespace).copied().unwrap_or(1).max(1));
        if let Some(tenant) = self.tenants.get_mut(&namespace) {
            tenant.pass += STRIDE / weight;
            tenant.in_flight += 1;
        }
        self.remove(&uid);
        Some(job)
    }

    /// A job that [`Queue::pop`] gave has left its runner.
    pub fn finished(&mut self, namespace: &str) {
        if let Some(tenant) = self.tenants.get_mut(namespace) {
            tenant.in_flight = tenant.in_flight.saturating_sub(1);
            self.forget_if_idle(namespace);
        }
    }

    /// Keeps the table of namespaces as small as the work: an idle one is forgotten once its
    /// pass says nothing any more.
    fn forget_if_idle(&mut self, namespace: &str) {
        let now = self.now;
        if self.tenants.get(namespace).is_some_and(|tenant| {
            tenant.waiting.is_empty() && tenant.in_flight == 0 && tenant.pass <= now
        }) {
            self.tenants.remove(namespace);
        }
        if self.places.is_empty() && self.tenants.values().all(|tenant| tenant.in_flight == 0) {
            self.tenants.clear();
            self.now = 0;
        }
    }
}

fn place(job: &Waiting) -> Place {
    Place {
        priority: Reverse(job.priority),
        created: job.created,
        uid: job.uid.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn job(namespace: &str, number: i64, priority: i32) -> Waiting {
        Waiting {
            uid: format!("{namespace}-{number:03}"),
            namespace: namespace.into(),
            model: "blip".into(),
            priority,
            created: Timestamp::from_second(number).unwrap(),
        }
    }

    fn drain(queue: &mut Queue, shares: &Shares) -> Vec<String> {
        std::iter::from_fn(|| {
            let job = queue.pop(shares, |_| true)?;
            queue.finished(&job.namespace);
            Some(job.uid)
        })
        .collect()
    }

    #[test]
    fn what_a_share_holds_back_is_nothing_that_more_runners_would_help() {
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
        assert!(queue.pop(&two, |_| true).is_some());
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
        queue.pop(&Shares::default(), |_| true).unwrap();
        queue.push(job("modest", 5000, -1000));
        let next: Vec<_> = (0..2)
            .map(|_| queue.pop(&Shares::default(), |_| true).unwrap().namespace)
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
            max_in_flight: None,
        };
        let heavy = (0..100)
            .filter(|_| {
                let job = queue.pop(&shares, |_| true).unwrap();
                queue.finished(&job.namespace);
                job.namespace == "heavy"
            })
            .count();
        assert!((73..=77).contains(&heavy), "{heavy} of 100");
    }

    #[test]
    fn a_namespace_at_its_bound_waits_until_one_of_its_jobs_has_left() {
        let mut queue = Queue::default();
        queue.push(job("a", 1, 0));
        queue.push(job("a", 2, 0));
        let shares = Shares {
            max_in_flight: Some(1),
            ..Default::default()
        };
        assert!(queue.pop(&shares, |_| true).is_some());
        assert!(queue.pop(&shares, |_| true).is_none());
        queue.finished("a");
        assert!(queue.pop(&shares, |_| true).is_some());
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
                .pop(&Shares::default(), |model| model == "vit")
                .unwrap()
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
        fn every_job_comes_out_once_and_an_empty_queue_remembers_nothing(
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
            prop_assert!(queue.is_empty() && queue.tenants.is_empty());
        }
    }
}
