use super::world::{Batch, HOUR, TICK, World, changes, wish};
use super::*;

fn waiting(queued: u32) -> Load {
    Load {
        queued,
        ..Load::default()
    }
}

fn serving(ready: u32) -> Runners {
    beside(ready, 0)
}

fn beside(ready: u32, starting: u32) -> Runners {
    Runners {
        ready,
        starting,
        failing: 0,
    }
}

#[test]
fn an_empty_pool_gets_its_first_runner_at_once_with_the_first_job() {
    let mut world = World::new(wish(0, 10, 300, 30), 4, 1.0);
    assert_eq!(world.run(600, |_| 0.0), vec![0; 300]);
    assert_eq!(world.tick(0.5).replicas, 1);
}

#[test]
fn a_pool_that_never_had_a_runner_starts_one_however_long_the_queue() {
    let mut scaler = Autoscaler::default();
    let now = Instant::now();
    let decision = scaler.decide(&wish(0, 10, 300, 30), &waiting(5000), serving(0), now);
    assert_eq!((decision.replicas, decision.backlog_seconds), (1, None));
}

#[test]
fn an_idle_pool_goes_to_zero_after_idle_seconds_and_not_before() {
    let mut world = World::new(wish(0, 10, 600, 30), 4, 1.0);
    world.run(HOUR, |_| 10.0);
    let quiet = world.run(1200, |_| 0.0);
    let idle_ticks = quiet.iter().filter(|wanted| **wanted > 0).count();
    // Jobs under way take a few seconds more.
    assert!((300..=315).contains(&idle_ticks), "{idle_ticks} ticks");
    assert_eq!(quiet.last(), Some(&0));
}

#[test]
fn a_step_of_the_load_gets_its_runners_at_once_when_the_rate_is_known() {
    let mut world = World::new(wish(1, 50, 300, 30), 4, 2.0);
    world.run(HOUR, |_| 1.0);
    // 2 jobs a second and runner: 10 keep up with 20 a second.
    let wanted = world.run(30, |_| 20.0);
    assert!(*wanted.last().unwrap() >= 5, "{wanted:?}");
    let wanted = world.run(HOUR, |_| 20.0);
    assert!((12..=14).contains(wanted.last().unwrap()), "{wanted:?}");
    assert!(*wanted.iter().max().unwrap() <= 40, "{wanted:?}");
}

#[test]
fn while_runners_start_the_number_at_most_doubles() {
    let mut scaler = Autoscaler::default();
    let wish = wish(1, 1000, 300, 30);
    let begin = Instant::now();
    let load = |queued, ended| Load {
        running: 2,
        ended,
        busy_seconds: 2.0 * f64::from(u32::try_from(ended).unwrap()),
        slots: Some(2),
        ..waiting(queued)
    };
    scaler.decide(&wish, &load(0, 0), serving(1), begin);
    scaler.decide(&wish, &load(0, 60), serving(1), begin + TICK * 30);
    let step = scaler.decide(&wish, &load(150, 62), serving(1), begin + TICK * 31);
    assert!((5..=10).contains(&step.replicas), "{step:?}");
    let flood = |starting| beside(1, starting);
    let more = scaler.decide(
        &wish,
        &load(100_000, 70),
        flood(step.replicas - 1),
        begin + TICK * 50,
    );
    assert_eq!(
        (more.replicas, more.reason),
        (2 * step.replicas, Reason::Starting)
    );
    let soon = scaler.decide(
        &wish,
        &load(200_000, 72),
        flood(more.replicas - 1),
        begin + TICK * 51,
    );
    assert_eq!(soon.replicas, more.replicas);
}

#[test]
fn failing_runners_limit_new_ones_by_the_number_that_serve() {
    let mut scaler = Autoscaler::default();
    let wish = wish(1, 1000, 300, 30);
    let begin = Instant::now();
    let mut at = |second: u64, ready, failing| {
        let load = Load {
            running: 2,
            ended: second,
            busy_seconds: f64::from(u32::try_from(second).unwrap()),
            slots: Some(1),
            ..waiting(100_000)
        };
        let runners = Runners {
            failing,
            ..beside(ready, failing)
        };
        let decision = scaler.decide(&wish, &load, runners, begin + Duration::from_secs(second));
        (decision.replicas, decision.reason)
    };
    at(0, 3, 0);
    // The image is broken: two fail, and no others are added.
    let mut all = Vec::new();
    for step in 1..20 {
        all.push(at(step * 20, 3, 2));
    }
    assert!(
        all.iter().all(|each| *each == (6, Reason::Failing)),
        "{all:?}"
    );
    // One node of many is broken.
    assert_eq!(at(420, 8, 1), (12, Reason::Starting));
    // All serve again.
    assert!(at(440, 12, 0).0 > 24);
}

#[test]
fn no_runner_is_added_while_others_start_until_the_speed_of_one_is_known() {
    let mut scaler = Autoscaler::default();
    let wish = wish(0, 1000, 300, 30);
    let begin = Instant::now();
    let mut at = |seconds, ready, starting| {
        let load = Load {
            slots: (ready > 0).then_some(4),
            ..waiting(5000)
        };
        let now = begin + Duration::from_secs(seconds);
        let runners = beside(ready, starting);
        scaler.decide(&wish, &load, runners, now).replicas
    };
    let wanted = [
        at(0, 0, 0),
        at(60, 0, 1),
        at(600, 0, 1),
        at(620, 1, 0),
        at(640, 1, 1),
        at(900, 1, 1),
        at(920, 2, 0),
    ];
    assert_eq!(wanted, [1, 1, 1, 2, 2, 2, 4]);
}

#[test]
fn a_pool_whose_jobs_start_and_end_between_two_decisions_is_not_idle() {
    let mut scaler = Autoscaler::default();
    let wish = wish(0, 10, 60, 30);
    let begin = Instant::now();
    for tick in 0..300 {
        let load = Load {
            ended: u64::from(tick / 20),
            busy_seconds: 0.1 * f64::from(tick / 20),
            slots: Some(4),
            ..Load::default()
        };
        let decision = scaler.decide(&wish, &load, serving(1), begin + TICK * tick);
        assert_eq!(decision.replicas, 1, "after {tick} ticks");
    }
}

#[test]
fn a_new_leader_removes_no_runner_in_its_first_five_minutes() {
    let mut scaler = Autoscaler::default();
    let wish = wish(0, 50, 3600, 30);
    let begin = Instant::now();
    let idle = Load {
        slots: Some(4),
        ..Load::default()
    };
    for tick in 0..=150 {
        let decision = scaler.decide(&wish, &idle, serving(20), begin + TICK * tick);
        assert_eq!((decision.replicas, decision.reason), (20, Reason::Quiet));
    }
    let later = scaler.decide(&wish, &idle, serving(20), begin + TICK * 155);
    assert_eq!(later.replicas, 1);
}

#[test]
fn runners_with_jobs_are_not_removed() {
    let mut scaler = Autoscaler::default();
    let wish = wish(0, 50, 10, 30);
    let begin = Instant::now();
    let load = Load {
        running: 31,
        slots: Some(4),
        ..Load::default()
    };
    scaler.decide(&wish, &load, serving(20), begin);
    let later = scaler.decide(&wish, &load, serving(20), begin + Duration::from_mins(15));
    assert_eq!(later.replicas, 8);
}

#[test]
fn the_rate_of_a_runner_whose_jobs_share_a_gpu_is_not_overestimated_at_low_load() {
    let mut world = World::new(wish(1, 50, 300, 30), 8, 0.1);
    world.shared = 1.0;
    let wanted = world.run(4 * HOUR, |_| 50.0);
    // 10 jobs a second and runner, however many at once.
    let late = &wanted[wanted.len() / 2..];
    assert!(late.iter().all(|n| (5..=7).contains(n)), "{late:?}");
    assert!(changes(late) <= 2, "{late:?}");
}

#[test]
fn an_old_measurement_is_corrected_by_newer_ones() {
    let mut world = World::new(wish(1, 20, 300, 30), 4, 10.0);
    world.run(HOUR, |_| 20.0);
    world.job_seconds = 0.1;
    let wanted = world.run(HOUR, |_| 5.0);
    assert_eq!(wanted.last(), Some(&1));
}

#[test]
fn changed_bounds_apply_at_once() {
    let mut world = World::new(wish(1, 20, 300, 30), 1, 1.0);
    world.run(HOUR, |_| 8.0);
    world.wish = wish(1, 3, 300, 30);
    let at_max = world.tick(8.0);
    assert_eq!((at_max.replicas, at_max.reason), (3, Reason::AtMax));
    world.wish = wish(15, 20, 300, 30);
    assert_eq!(world.tick(8.0).replicas, 15);
}

#[test]
fn a_backlog_is_in_seconds_of_one_runner() {
    let mut world = World::new(wish(1, 1, 300, 30), 4, 2.0);
    world.run(600, |_| 2.0);
    world.there += 100.0;
    let seconds = world.tick(2.0).backlog_seconds.unwrap();
    assert!((45.0..55.0).contains(&seconds), "{seconds}");
}

/// A batch at 10 pictures a second and runner.
fn batch(pictures: u32, parallelism: u32) -> Batch {
    Batch::new(pictures, parallelism, 10.0)
}

#[test]
fn a_large_batch_gets_all_runners_until_its_end_and_leaves_none() {
    let mut world = World::new(wish(0, 20, 300, 30), 4, 1.0);
    assert_eq!(world.tick(0.0).replicas, 0);
    world.batch = batch(1_000_000, u32::MAX);
    assert_eq!(world.tick(0.0).replicas, 1);
    let wanted = world.run(2 * HOUR, |_| 0.0);
    let twenty = wanted.iter().filter(|runners| **runners == 20).count();
    // 5,000 seconds on 20 runners.
    assert!((2400..2700).contains(&twenty), "{twenty} ticks");
    assert!(world.batch.left < 1.0, "{} left", world.batch.left);
    assert_eq!(wanted.last(), Some(&0));
    let raised = wanted.windows(2).filter(|pair| pair[1] > pair[0]);
    assert_eq!(raised.count(), 1, "{wanted:?}");
}

#[test]
fn a_batch_of_a_few_minutes_gets_no_more_runners_than_these_minutes_need() {
    let mut world = World::new(wish(0, 100, 300, 30), 4, 1.0);
    world.batch = batch(10_000, u32::MAX);
    let wanted = world.run(HOUR, |_| 0.0);
    // 1,000 seconds of one runner.
    let most = *wanted.iter().max().unwrap();
    assert!((3..=4).contains(&most), "{wanted:?}");
    let done = wanted.iter().position(|runners| *runners == 0);
    assert!(done.is_some(), "{wanted:?}");
}

#[test]
fn a_batch_gets_no_more_runners_than_its_parallelism_fills() {
    for (parallelism, runners) in [(1, 1), (2, 1), (5, 3)] {
        let mut world = World::new(wish(0, 20, 300, 30), 4, 1.0);
        world.batch = batch(1_000_000, parallelism);
        let wanted = world.run(HOUR, |_| 0.0);
        assert_eq!(wanted.iter().max(), Some(&runners), "{wanted:?}");
    }
    // Changed while it runs.
    let mut world = World::new(wish(0, 20, 300, 30), 4, 1.0);
    world.batch = batch(1_000_000, 2);
    world.run(HOUR, |_| 0.0);
    world.batch.parallelism = 20;
    assert_eq!(world.run(600, |_| 0.0).last(), Some(&10));
    world.batch.parallelism = 0;
    assert_eq!(world.run(1200, |_| 0.0).last(), Some(&0));
}

#[test]
fn jobs_beside_a_batch_get_the_runners_that_they_need_themselves() {
    let mut jobs = World::new(wish(1, 50, 300, 30), 4, 2.0);
    let alone = *jobs.run(HOUR, |_| 20.0).last().unwrap();
    let mut both = World::new(wish(1, 50, 300, 30), 4, 2.0);
    both.batch = batch(1_000_000, 6);
    let with_batch = *both.run(HOUR, |_| 20.0).last().unwrap();
    assert!(
        (alone + 3..=alone + 4).contains(&with_batch),
        "{alone}, {with_batch}"
    );
}

#[test]
fn a_batch_that_stands_still_gets_no_more_runners() {
    let mut world = World::new(wish(0, 100, 300, 30), 4, 1.0);
    world.batch = batch(20_000, u32::MAX);
    world.run(300, |_| 0.0);
    let before = *world.run(60, |_| 0.0).last().unwrap();
    // The store has failed.
    world.batch.per_second = 0.0;
    let wanted = world.run(HOUR, |_| 0.0);
    assert!(
        wanted.iter().all(|runners| (1..=before).contains(runners)),
        "{before}, {wanted:?}"
    );
}

#[test]
fn what_is_left_of_a_batch_counts_as_backlog() {
    let mut world = World::new(wish(1, 1, 300, 30), 4, 2.0);
    world.batch = batch(10_000, 2);
    assert_eq!(world.tick(0.0).backlog_seconds, None);
    world.run(98, |_| 0.0);
    let seconds = world.tick(0.0).backlog_seconds.unwrap();
    assert!((890.0..910.0).contains(&seconds), "{seconds}");
}
