use super::*;
use crate::job::retry::Success;
use fovea_crds::{JobResult, ServedModel, Timings};
use fovea_protocol::Problem;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn after(costs: &[(&str, &str, u64)], now: Instant) -> Costs {
    let mut known = Costs::default();
    for (namespace, model, millis) in costs {
        known.record((namespace, model), Cost::Measured(ms(*millis)), now);
    }
    known
}

fn success(cost_micros: Option<u64>) -> Outcome {
    Outcome::Succeeded(Success {
        result: JobResult::Caption(String::new()),
        model: ServedModel {
            name: String::new(),
            revision: String::new(),
        },
        timings: Timings {
            infer_millis: 30,
            ..Timings::default()
        },
        reused: false,
        answered: None,
        cost_micros,
    })
}

fn problem(reason: Reason, cost_micros: Option<u64>) -> Outcome {
    let mut problem = Problem::new(reason, "");
    problem.cost_micros = cost_micros;
    Outcome::Problem(problem)
}

#[test]
fn an_attempt_costs_what_its_runner_measured_or_else_the_time_on_it() {
    let mut reused = success(None);
    if let Outcome::Succeeded(success) = &mut reused {
        success.reused = true;
    }
    let cases = [
        (success(Some(20_000)), Cost::Measured(ms(20))),
        // A runner that measures nothing, or too much.
        (success(None), Cost::Measured(ms(30))),
        (success(Some(u64::MAX)), Cost::Measured(ms(50))),
        (
            problem(Reason::InvalidPicture, Some(9000)),
            Cost::Elapsed(ms(9)),
        ),
        (reused, Cost::Elapsed(Duration::ZERO)),
        (problem(Reason::InvalidPicture, None), Cost::Elapsed(ms(50))),
        // The picture is still being decoded.
        (
            problem(Reason::DeadlineExceeded, Some(0)),
            Cost::Elapsed(ms(50)),
        ),
        (problem(Reason::Busy, Some(0)), Cost::Nothing),
        (Outcome::NotBegun(String::new()), Cost::Nothing),
        (Outcome::Lost(String::new()), Cost::Elapsed(ms(50))),
    ];
    for (outcome, cost) in cases {
        assert_eq!(Cost::of(&outcome, ms(50)), cost, "{outcome}");
    }
}

#[test]
fn a_cost_is_expected_from_the_namespace_s_latest_jobs_of_the_model() {
    let now = Instant::now();
    let mut costs = after(&[("a", "vit", 40), ("b", "vit", 800)], now);
    assert_eq!(costs.expect("a", "vit"), ms(40));
    assert_eq!(costs.expect("new", "vit"), ms(40), "as the cheapest");
    assert_eq!(costs.expect("a", "blip"), UNKNOWN);
    for _ in 0..40 {
        costs.record(("a", "vit"), Cost::Measured(ms(400)), now);
        costs.record(("a", "vit"), Cost::Elapsed(ms(9999)), now);
    }
    let expected = costs.expect("a", "vit");
    assert!(ms(390) < expected && expected <= ms(400), "{expected:?}");
}

#[test]
fn the_costs_of_a_bounded_number_of_namespaces_are_remembered() {
    let now = Instant::now();
    let mut costs = Costs::default();
    for number in 0..MAX_NAMESPACES + 10 {
        let later = now + ms(number as u64);
        costs.record((&format!("{number}"), "vit"), Cost::Measured(ms(1)), later);
    }
    assert_eq!(costs.namespaces.len(), MAX_NAMESPACES);
    assert!(!costs.namespaces.contains_key("9") && costs.namespaces.contains_key("10"));
}

#[test]
fn costly_jobs_leave_room_to_those_of_others_and_take_all_of_it_alone() {
    let now = Instant::now();
    let costs = after(&[("large", "vit", 2000), ("light", "vit", 40)], now);
    let most = |namespace: &str, shares: &Shares, slots, now| {
        let contention = costs.contention(shares, now, |_| false);
        costs.most((namespace, "vit"), &contention, shares, slots)
    };
    let equal = Shares::default();
    assert_eq!(most("large", &equal, 4, now), 2);
    assert_eq!(most("large", &equal, 1, now), 1, "never none");
    assert_eq!(most("light", &equal, 4, now), u32::MAX);
    assert_eq!(most("new", &equal, 4, now), u32::MAX);
    let heavy = Shares {
        weights: [("large".to_owned(), 3)].into(),
        ..Shares::default()
    };
    assert_eq!(most("large", &heavy, 4, now), 3);
    assert_eq!(
        most("large", &equal, 4, now + ACTIVE_FOR),
        u32::MAX,
        "alone"
    );
}

#[test]
fn namespaces_that_rest_count_as_one_and_closed_ones_as_resting() {
    let now = Instant::now();
    let costs = after(
        &[
            ("large", "vit", 2000),
            ("b", "vit", 40),
            ("c", "vit", 40),
            ("d", "vit", 40),
        ],
        now,
    );
    let most = |shares: &Shares, now, busy: &[&str]| {
        let contention = costs.contention(shares, now, |namespace| busy.contains(&namespace));
        costs.most(("large", "vit"), &contention, shares, 8)
    };
    let equal = Shares::default();
    assert_eq!(most(&equal, now, &["large"]), 4);
    assert_eq!(most(&equal, now, &["large", "b", "c"]), 2);
    let closed = Shares {
        closed: ["b".to_owned(), "c".to_owned()].into(),
        ..Shares::default()
    };
    assert_eq!(most(&closed, now, &["large", "b", "c"]), 4);
    let later = now + ACTIVE_FOR;
    assert_eq!(most(&closed, later, &["large", "b", "c"]), u32::MAX);
    assert_eq!(most(&equal, later, &["large", "b"]), 4);
}

#[test]
fn what_was_not_run_teaches_no_mean() {
    let now = Instant::now();
    let mut costs = after(&[("a", "vit", 40)], now);
    let mut reused = success(Some(0));
    if let Outcome::Succeeded(success) = &mut reused {
        success.reused = true;
    }
    for outcome in [reused, problem(Reason::InvalidPicture, Some(0))] {
        let cost = Cost::of(&outcome, ms(50));
        assert_eq!(cost.charge(), LEAST);
        costs.record(("a", "vit"), cost, now);
        costs.record(("new", "vit"), cost, now);
    }
    assert_eq!(
        (costs.expect("a", "vit"), costs.expect("new", "vit")),
        (ms(40), ms(40))
    );
}

#[test]
fn jobs_of_about_the_same_cost_are_not_held_back() {
    let now = Instant::now();
    let costs = after(&[("a", "blip", 1200), ("b", "blip", 400)], now);
    let shares = Shares::default();
    let contention = costs.contention(&shares, now, |_| true);
    assert_eq!(costs.most(("a", "blip"), &contention, &shares, 4), u32::MAX);
}
