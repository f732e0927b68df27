//! Which Events are published: a share for each namespace, within a bound on all. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Upper bound on a burst of one namespace's Events after a quiet time, and on that of all.
const BURST: f64 = 20.0;
const BURST_OF_ALL: f64 = 50.0;
/// Sustained rates of one namespace's Events per second, and of all.
const PER_SECOND: f64 = 0.2;
const PER_SECOND_OF_ALL: f64 = 2.0;
/// Part of the burst of all that is only for namespaces that have had no Event lately.
const RESERVE: f64 = 20.0;
/// Bound on namespaces whose latest Events are known. Beyond it the one with the most left is forgotten.
const MAX_NAMESPACES: usize = 1000;
/// The same reason of the same object is no news for so long.
const REPEATED_AFTER: Duration = Duration::from_mins(10);
/// Bound on objects and reasons that are remembered for that; the oldest is forgotten first.
const MAX_KNOWN: usize = 2000;

/// Why an Event is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It was published already, perhaps in other words.
    Known,
    /// The namespace, or all together, had too many lately.
    TooMany,
}

/// An object's uid and a reason.
type News = (Box<str>, Box<str>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn fill(&mut self, now: Instant, per_second: f64, most: f64) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * per_second).min(most);
        self.filled = now;
    }
}

/// The Events of the latest minutes.
#[derive(Debug)]
pub(super) struct Budget {
    all: Bucket,
    /// Namespaces whose bucket is not full.
    namespaces: HashMap<Box<str>, Bucket>,
    known: HashMap<News, Instant>,
    /// The keys of `known`, oldest first.
    in_order: VecDeque<(Instant, News)>,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        let all = Bucket {
            tokens: BURST_OF_ALL,
            filled: now,
        };
        Self {
            all,
            namespaces: HashMap::new(),
            known: HashMap::new(),
            in_order: VecDeque::new(),
        }
    }

    /// Takes an Event about an object of a namespace from the budget.
    pub(super) fn take(
        &mut self,
        namespace: &str,
        (uid, reason): (&str, &str),
        now: Instant,
    ) -> Result<(), Refusal> {
        self.forget_old(now);
        let news: News = (uid.into(), reason.into());
        if self.known.contains_key(&news) {
            return Err(Refusal::Known);
        }
        self.all.fill(now, PER_SECOND_OF_ALL, BURST_OF_ALL);
        self.namespaces.retain(|_, bucket| {
            bucket.fill(now, PER_SECOND, BURST);
            bucket.tokens < BURST
        });
        let own = self.namespaces.get(namespace);
        let left = own.map_or(BURST, |own| own.tokens);
        // Only a namespace that has had none for long may use the reserve.
        let reserved = if own.is_none() { 0.0 } else { RESERVE };
        if left < 1.0 || self.all.tokens < reserved + 1.0 {
            return Err(Refusal::TooMany);
        }
        self.all.tokens -= 1.0;
        self.make_room();
        let own = Bucket {
            tokens: left - 1.0,
            filled: now,
        };
        self.namespaces.insert(namespace.into(), own);
        self.known.insert(news.clone(), now);
        self.in_order.push_back((now, news));
        Ok(())
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((at, _)) = self.in_order.front()
            && (self.in_order.len() >= MAX_KNOWN
                || now.saturating_duration_since(*at) >= REPEATED_AFTER)
            && let Some((_, news)) = self.in_order.pop_front()
        {
            self.known.remove(&news);
        }
    }

    /// Forgets the namespace with the most tokens where too many are known.
    fn make_room(&mut self) {
        if self.namespaces.len() < MAX_NAMESPACES {
            return;
        }
        let fullest = self.namespaces.iter();
        let fullest = fullest.max_by(|(_, a), (_, b)| a.tokens.total_cmp(&b.tokens));
        if let Some(name) = fullest.map(|(name, _)| name.clone()) {
            self.namespaces.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of Events that each namespace gets of so many about different objects.
    fn taken(budget: &mut Budget, namespace: &str, objects: usize, now: Instant) -> usize {
        let took = |number: &usize| {
            let uid = format!("{namespace}-{number}-{now:?}");
            budget.take(namespace, (&uid, "PoolNotFound"), now).is_ok()
        };
        (0..objects).filter(took).count()
    }

    #[test]
    fn a_namespace_with_many_events_leaves_the_first_ones_of_others() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!(taken(&mut budget, "noisy", 120, now), 20);
        assert_eq!(taken(&mut budget, "quiet", 1, now), 1);
        // Many noisy ones leave the reserve to those that have had none.
        for number in 0..3 {
            taken(&mut budget, &format!("noisy-{number}"), 120, now);
        }
        for number in 0..15 {
            let quiet = format!("quiet-{number}");
            assert_eq!(taken(&mut budget, &quiet, 5, now), 1, "{quiet}");
        }
    }

    #[test]
    fn all_together_have_a_bound_that_fills_again() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let each = (0..200).map(|number| taken(&mut budget, &format!("{number}"), 10, now));
        assert_eq!(each.sum::<usize>(), 50);
        let later = now + Duration::from_secs(5);
        assert_eq!(taken(&mut budget, "new", 1, later), 1);
        let much_later = now + Duration::from_mins(10);
        assert_eq!(taken(&mut budget, "0", 120, much_later), 20);
    }

    #[test]
    fn the_same_reason_of_an_object_is_no_news() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let mut take = |uid, reason, now| budget.take("ns", (uid, reason), now);
        assert_eq!(take("a", "NotDecodable", now), Ok(()));
        assert_eq!(take("a", "NotDecodable", now), Err(Refusal::Known));
        assert_eq!(take("a", "RunnerLost", now), Ok(()));
        assert_eq!(take("b", "NotDecodable", now), Ok(()));
        assert_eq!(take("a", "NotDecodable", now + REPEATED_AFTER), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_when_it_no_longer_matters() {
        let mut now = Instant::now();
        let mut budget = Budget::new(now);
        for number in 0..5000 {
            now += Duration::from_millis(500);
            let (namespace, uid) = (format!("ns-{number}"), format!("{number}"));
            assert_eq!(budget.take(&namespace, (&uid, "r"), now), Ok(()));
            assert!(budget.namespaces.len() <= MAX_NAMESPACES);
            assert!(budget.known.len() <= MAX_KNOWN);
            assert_eq!(budget.known.len(), budget.in_order.len());
        }
        now += Duration::from_mins(20);
        assert_eq!(budget.take("ns", ("a", "r"), now), Ok(()));
        assert_eq!((budget.namespaces.len(), budget.known.len()), (1, 1));
    }
}
