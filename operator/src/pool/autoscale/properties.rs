//! Properties that hold for every load.

use super::world::{HOUR, World, changes, wish};
use super::*;
use proptest::prelude::*;

fn any_wish() -> impl Strategy<Value = Autoscaling> {
    (0u32..20, 0u32..30, 0u32..600, 0u32..120)
        .prop_map(|(min, max, idle, target)| wish(min, max, idle, target))
}

/// Includes loads that no dispatcher would report.
fn any_load() -> impl Strategy<Value = Load> {
    let work = (
        prop_oneof![Just(0u32), 0u32..50, any::<u32>()],
        prop_oneof![Just(0u32), 0u32..50, any::<u32>()],
    );
    let done = (prop_oneof![0u64..1000, any::<u64>()], any::<f64>());
    (work, done, prop::option::of(0u32..10), any_batch()).prop_map(
        |((queued, running), done, slots, batch)| Load {
            queued,
            running,
            ended: done.0,
            busy_seconds: done.1,
            slots,
            ..batch
        },
    )
}

fn any_batch() -> impl Strategy<Value = Load> {
    let shards = || prop_oneof![Just(0u32), 0u32..50, any::<u32>()];
    let left = prop_oneof![Just(0u64), 0u64..1_000_000, any::<u64>()];
    let done = (prop_oneof![0u64..1000, any::<u64>()], any::<f64>());
    (left, shards(), shards(), done, prop::option::of(0u32..4)).prop_map(
        |(left, runnable, running, done, shard_slots)| Load {
            batch_pictures_left: left,
            shards_runnable: runnable,
            shards_running: running,
            shard_slots,
            batch_pictures_done: done.0,
            batch_busy_seconds: done.1,
            ..Load::default()
        },
    )
}

fn has_batches(load: &Load) -> bool {
    load.shards_running > 0 || load.batch_pictures_left > 0 && load.shards_runnable > 0
}

fn any_runners() -> impl Strategy<Value = Runners> {
    (0u32..40, 0u32..40, 0u32..40).prop_map(|(ready, starting, failing)| Runners {
        ready,
        starting,
        failing: failing.min(starting),
    })
}

proptest! {
    #[test]
    fn the_bounds_are_kept_and_nothing_flaps(
        wish in any_wish(),
        steps in prop::collection::vec((any_load(), any_runners(), 0u32..120), 1..200),
    ) {
        let mut scaler = Autoscaler::default();
        let mut now = Instant::now();
        let mut before: Option<u32> = None;
        let (mut raised, mut lowered) = (None::<Instant>, None::<Instant>);
        let mut ended = None;
        let mut quiet_since: Option<Instant> = None;
        for (load, runners, seconds) in steps {
            now += Duration::from_secs(seconds.into());
            let decision = scaler.decide(&wish, &load, runners, now);
            let replicas = decision.replicas;
            let busy = load.queued > 0 || load.running > 0 || has_batches(&load);
            let max = wish.max.max(1);
            prop_assert!(replicas <= max && replicas >= wish.min.min(max));
            prop_assert!(replicas > 0 || !busy, "zero with work");
            let counted = (load.ended, load.batch_pictures_done);
            let stirred = ended.replace(counted).is_some_and(|last| last != counted);
            quiet_since = if busy { None } else if stirred { Some(now) } else { quiet_since.or(Some(now)) };
            let since = |then: Instant| now - then;
            let idle = quiet_since.is_some_and(|q| since(q).as_secs() >= wish.idle_seconds.into());
            prop_assert_eq!(idle, decision.reason == Reason::Idle);
            let Some(last) = before.replace(replicas) else { continue };
            if replicas > last.max(1) && runners.failing > 0 {
                let most = (runners.ready * GROWTH).max(wish.min.min(max));
                prop_assert!(replicas <= most, "{replicas} though runners fail");
            }
            if replicas > last {
                prop_assert!(last == 0 || raised.is_none_or(|then| since(then) >= UP_EVERY));
                raised = Some(now);
            }
            if replicas < last && !idle {
                prop_assert!(replicas > 0, "zero before idleSeconds");
                prop_assert!(raised.is_none_or(|then| since(then) > WINDOW), "up, then down");
                prop_assert!(lowered.is_none_or(|then| since(then) >= DOWN_EVERY));
            }
            if replicas < last {
                lowered = Some(now);
            }
            if decision.reason != Reason::Idle && replicas < last && let Some(slots) = load.slots {
                let needed = load.running.div_ceil(slots.max(1)).min(max);
                prop_assert!(replicas >= needed, "{} jobs run", load.running);
            }
        }
    }

    #[test]
    fn a_longer_queue_or_a_larger_batch_never_gets_fewer_runners(
        wish in any_wish(),
        steps in prop::collection::vec((any_load(), any_runners(), 0u32..30), 1..50),
        more in 1u32..10_000,
    ) {
        let mut scaler = Autoscaler::default();
        let mut now = Instant::now();
        for (load, runners, seconds) in steps {
            now += Duration::from_secs(seconds.into());
            let mut other = scaler.clone();
            let longer = Load { queued: load.queued.saturating_add(more), ..load.clone() };
            let larger = Load {
                batch_pictures_left: load.batch_pictures_left.saturating_add(more.into()),
                ..load.clone()
            };
            let mut third = scaler.clone();
            let replicas = scaler.decide(&wish, &load, runners, now).replicas;
            let with_longer = other.decide(&wish, &longer, runners, now).replicas;
            let with_larger = third.decide(&wish, &larger, runners, now).replicas;
            prop_assert!(with_longer >= replicas, "{replicas} with less, {with_longer}");
            prop_assert!(with_larger >= replicas, "{replicas} with less, {with_larger}");
        }
    }
}

proptest! {
    // Each case simulates hours.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_constant_load_gets_a_constant_number_that_keeps_up_and_is_not_too_many(
        per_second in 0.05f64..20.0, slots in 1u32..9, job_seconds in 0.5f64..20.0,
        shared in 0.0f64..1.0, target in 10u32..120, start_up in 0u32..180,
    ) {
        let mut world = World::new(wish(0, 1000, 300, target), slots, job_seconds);
        world.shared = shared;
        world.start_up = Duration::from_secs(start_up.into());
        let exact = per_second / world.rate();
        prop_assume!(exact < 200.0);
        let wanted = world.run(4 * HOUR, |_| per_second);
        let late = &wanted[wanted.len() * 3 / 4..];
        prop_assert_eq!(changes(late), 0, "{:?}", late);
        let settled = f64::from(late[0]);
        prop_assert!(settled >= exact, "{settled} for {exact}");
        prop_assert!(settled <= (exact / UTILISATION * 1.25).ceil() + 1.0, "{settled} for {exact}");
    }

    #[test]
    fn noise_changes_the_number_a_few_times_an_hour_at_most(
        noise in prop::collection::vec(0.5f64..1.5, 600).no_shrink(), per_second in 0.5f64..20.0,
    ) {
        let mut world = World::new(wish(1, 1000, 300, 30), 4, 4.0);
        let arrivals = |second: u32| per_second * noise[second as usize / 2 % noise.len()];
        let wanted = world.run(5 * HOUR, arrivals);
        let late = changes(&wanted[wanted.len() / 5..]);
        prop_assert!(late <= 4 * 8, "{late} changes in four hours of {per_second}");
    }
}
