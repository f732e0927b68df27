use super::*;
use proptest::prelude::*;

const AGE: i64 = 60;

fn retention(total: usize, per_namespace: usize) -> Retention {
    Retention::new(RetentionConfig {
        max_finished_jobs: total,
        max_finished_jobs_per_namespace: per_namespace,
        min_finished_seconds: 60,
        deletions_per_second: 50,
    })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn job(namespace: &str, ended: i64, made_by_api: bool) -> Finished {
    Finished {
        namespace: namespace.into(),
        name: "job".into(),
        resource_version: "1".into(),
        unobserved: None,
        ended: at(ended),
        ttl_seconds: Some(86_400),
        recordable: made_by_api,
        callback: None,
    }
}

impl Retention {
    fn fill(&mut self, namespace: &str, jobs: std::ops::Range<i64>, made_by_api: bool) {
        for number in jobs {
            let uid = format!("{namespace}-{number}");
            self.keep(&uid, &job(namespace, number, made_by_api));
        }
    }
}

/// Takes and forgets jobs until none is due.
fn drain(retention: &mut Retention, now: i64) -> Vec<String> {
    std::iter::from_fn(|| {
        let (uid, _) = retention.take(at(now))?;
        retention.forget(&uid);
        Some(uid.to_string())
    })
    .collect()
}

#[test]
fn within_the_limits_only_expired_jobs_are_deleted() {
    let mut kept = retention(10, 10);
    kept.fill("a", 0..8, true);
    assert!(kept.next_cause(at(1000)).is_none());
    kept.expire("a-7");
    assert_eq!(kept.take(at(0)), Some(("a-7".into(), Cause::Expired)));
    assert_eq!(kept.take(at(1000)), None);
}

#[test]
fn a_job_that_is_given_more_time_before_its_turn_stays() {
    let mut kept = retention(3, 2);
    kept.keep("job", &job("a", 1, true));
    kept.expire("job");
    kept.keep("job", &job("a", 1, true));
    assert!(kept.next_cause(at(1000)).is_none());
}

#[test]
fn near_its_limit_a_namespace_loses_its_oldest_jobs_that_have_the_minimum_age() {
    let mut kept = retention(100, 10);
    kept.fill("quiet", 0..3, true);
    kept.fill("greedy", 0..10, true);
    assert!(kept.is_full("greedy") && !kept.is_full("quiet"));
    assert!(kept.next_cause(at(AGE - 1)).is_none());
    assert_eq!(drain(&mut kept, AGE), ["greedy-0"]);
    assert_eq!(drain(&mut kept, AGE + 50), ["greedy-1"]);
    assert!(!kept.is_full("greedy"));
}

#[test]
fn what_a_user_applied_never_goes_early_and_fills_its_namespace_alone() {
    let mut kept = retention(100, 10);
    kept.fill("applied", 0..10, false);
    kept.fill("other", 0..3, true);
    assert!(kept.next_cause(at(1000)).is_none());
    assert!(kept.is_full("applied") && !kept.is_full("other") && !kept.is_full("new"));
    assert_eq!(kept.full(), HashSet::from(["applied".to_owned()]));
    assert!(kept.fullness("applied").unwrap().contains("may have, 10,"));
    assert_eq!(kept.fullness("other"), None);
    kept.forget("applied-3");
    assert!(!kept.is_full("applied"));
}

#[test]
fn jobs_with_a_callback_or_without_a_ttl_count_but_do_not_go_early() {
    let mut kept = retention(100, 2);
    let mut calling = job("a", 0, true);
    calling.callback = Some(Box::new(crate::job::Outgoing {
        due: at(0),
        receiver: "a:443".into(),
    }));
    kept.keep("calling", &calling);
    let mut endless = job("a", 0, true);
    endless.ttl_seconds = None;
    kept.keep("endless", &endless);
    assert!(kept.is_full("a") && kept.next_cause(at(1000)).is_none());
    calling.callback = None;
    kept.keep("calling", &calling);
    assert_eq!(drain(&mut kept, 1000), ["calling"]);
}

#[test]
fn running_jobs_take_room_until_they_stop() {
    let mut kept = retention(100, 2);
    kept.started("one", "a");
    kept.started("two", "a");
    assert!(kept.is_full("a"));
    kept.stopped("two");
    kept.stopped("two");
    assert!(!kept.is_full("a"));
    // The watch delivers its end before its task has ended.
    kept.keep("one", &job("a", 0, false));
    kept.stopped("one");
    assert!(!kept.is_full("a"));
    kept.started("three", "a");
    assert!(kept.is_full("a"));
}

#[test]
fn the_limit_for_all_takes_from_the_namespace_furthest_over_its_share() {
    let mut kept = retention(10, 10);
    kept.fill("large", 0..6, true);
    kept.fill("small", 0..3, true);
    // 9 of 10 with a share of 5, of which 4 are within 80 percent.
    assert_eq!(drain(&mut kept, 1000), ["large-0"]);
    kept.fill("applied", 0..6, false);
    assert!(kept.is_full("applied") && kept.is_full("large"));
    assert!(kept.fullness("large").unwrap().contains("its share of 3"));
    kept.fill("new", 0..1, true);
    assert!(!kept.is_full("new"));
}

#[test]
fn no_more_jobs_go_early_than_exceed_the_limit_while_deletions_are_under_way() {
    let mut kept = retention(100, 10);
    kept.fill("a", 0..10, true);
    let taken = std::iter::from_fn(|| kept.take(at(1000))).count();
    assert_eq!(taken, 2);
}

#[test]
fn a_job_counts_until_it_is_gone_and_a_failed_deletion_is_repeated() {
    let mut kept = retention(10, 1);
    kept.keep("a", &job("n", 1, true));
    kept.keep("b", &job("n", 1, true));
    kept.keep("c", &job("n", 1, true));
    for uid in ["a", "b", "c"] {
        assert_eq!(kept.take(at(1000)), Some((uid.into(), Cause::Limit)));
    }
    assert_eq!(kept.take(at(1000)), None);
    assert!(kept.is_full("n"));
    kept.keep("a", &job("n", 1, true));
    assert_eq!(kept.take(at(1000)), Some(("a".into(), Cause::Limit)));
    kept.forget("c");
    kept.forget("a");
    kept.forget("b");
    assert!(!kept.is_full("n"));
    assert!(kept.tenants.is_empty() && kept.by_size.is_empty() && kept.size == 0);
}

proptest! {
    #[test]
    fn no_namespace_within_its_share_loses_a_job_and_none_goes_before_its_time(
        jobs in prop::collection::vec((0u8..4, 0i64..50, any::<bool>()), 0..80),
        total in 1usize..40,
        per_namespace in 1usize..20,
        now in 0i64..120,
    ) {
        let mut kept = retention(total, per_namespace);
        for (number, (namespace, ended, made)) in jobs.iter().enumerate() {
            kept.keep(&number.to_string(), &job(&format!("n{namespace}"), *ended, *made));
        }
        let of = |namespace: u8| jobs.iter().filter(|job| job.0 == namespace).count();
        let namespaces = (0u8..4).filter(|namespace| of(*namespace) > 0).count().max(1);
        let own = most_of(per_namespace).min(most_of((total / namespaces).max(1)));
        let gone = drain(&mut kept, now);
        for uid in &gone {
            let (namespace, ended, made) = jobs[uid.parse::<usize>().unwrap()];
            prop_assert!(made && ended + AGE <= now && of(namespace) > own);
        }
        prop_assert!(kept.next_cause(at(now)).is_none());
        for namespace in 0u8..4 {
            let name = format!("n{namespace}");
            prop_assert_eq!(kept.full().contains(&name), kept.is_full(&name) && of(namespace) > 0);
        }
    }
}
