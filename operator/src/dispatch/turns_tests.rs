//! Simulates runners with so many slots, whose jobs take their real costs.

use super::*;
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BinaryHeap};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A pool, and the namespaces that keep jobs waiting.
struct World {
    turns: Turns,
    shares: Shares,
    slots: u32,
    start: Instant,
    /// Time that has passed.
    now: Duration,
    /// Jobs on runners, by the time of their end.
    running: BinaryHeap<std::cmp::Reverse<(Duration, u64)>>,
    jobs: BTreeMap<u64, (Turn, Duration)>,
    /// Time of runners that each namespace's ended jobs have taken.
    served: BTreeMap<String, Duration>,
    began: Vec<String>,
    next: u64,
}

impl World {
    fn new(slots: u32, weights: &[(&str, u32)]) -> Self {
        let weights = weights.iter();
        Self {
            turns: Turns::default(),
            shares: Shares {
                weights: weights
                    .map(|(name, weight)| ((*name).to_owned(), *weight))
                    .collect(),
                ..Shares::default()
            },
            slots,
            start: Instant::now(),
            now: Duration::ZERO,
            running: BinaryHeap::new(),
            jobs: BTreeMap::new(),
            served: BTreeMap::new(),
            began: Vec::new(),
            next: 0,
        }
    }

    fn submit(&mut self, namespace: &str, jobs: u64) {
        for _ in 0..jobs {
            self.next += 1;
            let waiting = Waiting {
                uid: format!("{:09}", self.next),
                namespace: namespace.to_owned(),
                model: "vit".to_owned(),
                priority: 0,
                created: Timestamp::UNIX_EPOCH,
            };
            self.turns.push(waiting, self.start + self.now);
        }
    }

    /// Starts jobs while there are slots, whose costs `cost` tells.
    fn begin(&mut self, cost: &mut impl FnMut(&str) -> Duration) {
        while self.running.len() < self.slots as usize {
            let now = self.start + self.now;
            let next = self.turns.next(&self.shares, self.slots, now, |_| true);
            let Some((waiting, turn)) = next else { return };
            self.next += 1;
            let cost = cost(&waiting.namespace);
            self.running
                .push(std::cmp::Reverse((self.now + cost, self.next)));
            self.jobs.insert(self.next, (turn, cost));
            self.began.push(waiting.namespace);
        }
    }

    /// Lets the next job end; false if none runs.
    fn end_one(&mut self) -> bool {
        let Some(std::cmp::Reverse((at, number))) = self.running.pop() else {
            return false;
        };
        self.now = at;
        let (turn, cost) = self.jobs.remove(&number).unwrap();
        *self.served.entry(turn.namespace.clone()).or_default() += cost;
        let now = self.start + self.now;
        self.turns
            .give_back(&turn, Cost::Measured(cost), &self.shares, now);
        true
    }

    /// Runs for so long, or until nothing is left.
    fn run(&mut self, time: Duration, mut cost: impl FnMut(&str) -> Duration) {
        let until = self.now.saturating_add(time);
        self.begin(&mut cost);
        while self.now < until && self.end_one() {
            self.begin(&mut cost);
        }
    }

    fn served(&self, namespace: &str) -> Duration {
        self.served.get(namespace).copied().unwrap_or_default()
    }
}

/// Costs that differ by so much.
fn costs(namespace: &str) -> Duration {
    match namespace {
        "large" => ms(2000),
        _ => ms(40),
    }
}

#[test]
fn a_namespace_of_costly_jobs_gets_as_many_seconds_as_another_not_as_many_jobs() {
    let mut world = World::new(1, &[]);
    world.submit("large", 400);
    world.submit("light", 4000);
    world.run(ms(100_000), costs);
    let (large, light) = (world.served("large"), world.served("light"));
    assert!(large.abs_diff(light) <= ms(5000), "{large:?}, {light:?}");
}

#[test]
fn a_namespace_that_was_idle_gets_no_credit_for_it() {
    let mut world = World::new(2, &[]);
    world.submit("busy", 10_000);
    world.submit("late", 1);
    world.run(ms(30_000), |_| ms(40));
    let before = world.served("busy");
    world.submit("late", 10_000);
    world.run(ms(10_000), |_| ms(40));
    let busy = world.served("busy").abs_diff(before);
    let late = world.served("late");
    assert!(busy.abs_diff(late) <= ms(300), "{busy:?}, {late:?}");
}

#[test]
fn a_namespace_with_one_costly_job_that_looked_cheap_pays_after() {
    let mut world = World::new(1, &[]);
    world.submit("other", 1000);
    world.submit("sly", 1);
    let mut first = true;
    let mut cost = move |namespace: &str| {
        let is_costly = namespace == "sly" && std::mem::take(&mut first);
        if is_costly { ms(4000) } else { ms(40) }
    };
    while world.served("sly").is_zero() {
        world.run(ms(1), &mut cost);
    }
    world.submit("sly", 500);
    let (at, before) = (world.began.len(), world.served("other"));
    while !world.began[at..].contains(&"sly".to_owned()) {
        world.run(ms(1), &mut cost);
    }
    let paid = world.served("other").abs_diff(before);
    assert!(paid >= ms(3500), "{paid:?}");
}

#[test]
fn a_namespace_that_had_no_room_for_long_does_not_take_all_turns_after() {
    let mut world = World::new(1, &[]);
    world.submit("served", 20_000);
    let other = Waiting {
        uid: "z".to_owned(),
        namespace: "shut-out".to_owned(),
        model: "blip".to_owned(),
        priority: 0,
        created: Timestamp::UNIX_EPOCH,
    };
    world.turns.push(other, world.start);
    // Only "vit" has a runner, for an hour of work.
    for _ in 0..3600 {
        let next = (world.turns).next(&world.shares, 1, world.start, |model| model == "vit");
        let (_, turn) = next.unwrap();
        let cost = Cost::Measured(ms(1000));
        (world.turns).give_back(&turn, cost, &world.shares, world.start);
    }
    world.submit("shut-out", 20_000);
    world.run(ms(300_000), |_| ms(40));
    let (served, shut_out) = (world.served("served"), world.served("shut-out"));
    assert!(shut_out <= served + ms(61_000), "{served:?}, {shut_out:?}");
}

#[test]
fn light_jobs_find_room_beside_costly_ones_of_another_namespace() {
    let mut world = World::new(4, &[]);
    world.submit("large", 400);
    world.submit("light", 1);
    world.run(ms(10_000), costs);
    assert_eq!(world.running.len(), 2, "half of the slots is left");
    let mut turns = 0;
    for _ in 0..50 {
        world.submit("light", 1);
        world.begin(&mut costs);
        assert_eq!(world.began.last().unwrap(), "light", "at once");
        let before = world.served("light");
        while world.served("light") == before && world.end_one() {
            world.begin(&mut costs);
            turns += 1;
        }
    }
    assert!(turns < 60, "large jobs that ended meanwhile: {turns} - 50");
    // Alone again, it has all of them.
    world.run(ms(65_000), costs);
    assert_eq!(world.running.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn over_time_the_seconds_are_in_proportion_to_the_weights(
        weights in prop::collection::vec(1u32..6, 2..5),
        most_millis in prop::collection::vec(50u64..300, 4),
        slots in 1u32..5,
        seed in any::<u64>(),
    ) {
        let names = ["a", "b", "c", "d"];
        let weights: Vec<_> = names.into_iter().zip(weights).collect();
        let mut world = World::new(slots, &weights);
        // The bound on costly jobs is another rule.
        world.shares.max_in_flight = Some(u32::MAX);
        for (name, _) in &weights {
            world.submit(name, 4000);
        }
        let mut random = seed;
        world.run(ms(20_000), |namespace| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let most = most_millis[names.iter().position(|name| *name == namespace).unwrap()];
            ms(1 + (random >> 33) % most)
        });
        let share = |(name, weight): &(&str, u32)| world.served(name).as_secs_f64() / f64::from(*weight);
        let shares: Vec<_> = weights.iter().map(share).collect();
        let (least, most) = (shares.iter().copied().fold(f64::MAX, f64::min), shares.iter().copied().fold(0.0, f64::max));
        // What is on runners at once, once for each of both.
        let bound = 2.0 * f64::from(slots + 1) * 0.3;
        prop_assert!(most - least <= bound, "{shares:?} of {weights:?}");
    }

    #[test]
    fn no_namespace_waits_for_ever(
        submits in prop::collection::vec((0usize..6, 1u64..30, 1u64..2000), 1..40),
        slots in 1u32..5,
    ) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let mut world = World::new(slots, &[("a", 1000), ("b", 7)]);
        let mut all = 0;
        for (who, jobs, millis) in submits {
            world.submit(names[who], jobs);
            all += usize::try_from(jobs).unwrap();
            world.run(ms(50), |_| ms(millis));
        }
        world.run(Duration::MAX, |_| ms(5));
        prop_assert_eq!(world.began.len(), all);
        prop_assert!(world.turns.queue.remembers_nothing());
    }
}
