use super::*;
use futures::FutureExt as _;
use proptest::prelude::*;
use std::pin::pin;

const LONG: Duration = Duration::from_mins(10);

fn pool(total: usize) -> Shares {
    Shares::new("tests", total, &Metrics::new())
}

fn user(name: &str) -> Parties {
    Parties::of(None, Some(name))
}

/// All that a party gets, one permit a request.
fn fill(pool: &Shares, parties: Parties) -> Vec<Permit> {
    std::iter::from_fn(|| pool.try_acquire(parties, 1).ok()).collect()
}

fn is_idle(pool: &Shares) -> bool {
    let state = pool.lock();
    let Ledger { used, held, .. } = &state.ledger;
    *used == 0 && held.is_empty() && state.queues.is_empty() && state.turns.is_empty()
}

#[test]
fn a_party_gets_half_of_a_pool_alone_and_a_quarter_beside_others() {
    let pool = pool(256);
    let first = fill(&pool, user("a"));
    assert_eq!(first.len(), 128);
    let second = fill(&pool, user("b"));
    assert_eq!(second.len(), 64);
    // The first one gets nothing back beyond its quarter while others hold something.
    drop(first);
    assert_eq!(fill(&pool, user("c")).len(), 64);
    drop(second);
    assert!(is_idle(&pool));
}

#[test]
fn newcomers_get_in_however_many_take_all_that_they_get() {
    let pool = pool(256);
    let hogs: Vec<_> = (0..7).map(|n| fill(&pool, user(&n.to_string()))).collect();
    assert!(hogs.iter().all(|held| !held.is_empty()));
    assert!(pool.try_acquire(user("new"), 1).is_ok());
}

#[test]
fn many_users_of_a_namespace_and_one_user_of_many_namespaces_are_one_party() {
    let pool = pool(64);
    let of = |namespace: &str, user: &str| Parties::of(Some(namespace), Some(user));
    let mut held = Vec::new();
    for n in 0..20 {
        held.extend(fill(&pool, of("ns", &n.to_string())));
    }
    assert_eq!(held.len(), 32);
    let mut other = Vec::new();
    for n in 0..20 {
        other.extend(fill(&pool, of(&n.to_string(), "u")));
    }
    assert_eq!(other.len(), 16);
    assert_eq!(
        pool.try_acquire(of("ns", "new"), 1).err(),
        Some(Refused::Share)
    );
    assert!(pool.try_acquire(of("new", "new"), 1).is_ok());
    drop((held, other));
    assert!(is_idle(&pool));
}

#[test]
fn without_a_party_only_the_size_counts() {
    let pool = pool(8);
    let held = fill(&pool, Parties::NONE);
    assert_eq!(held.len(), 8);
    let refused = pool.try_acquire(Parties::NONE, 1);
    assert_eq!(refused.err(), Some(Refused::Full));
    assert_eq!(
        super::Shares::has_room(&pool, user("a"), 1),
        Err(Refused::Full)
    );
}

#[test]
fn a_party_s_only_request_goes_on_while_there_is_room() {
    let pool = pool(100);
    let _others = fill(&pool, user("a"));
    let mut only = pool.try_acquire(user("b"), 10).unwrap();
    // More than a quarter.
    assert!(only.grow(30).is_ok());
    assert_eq!(pool.try_acquire(user("b"), 1).err(), Some(Refused::Share));
    assert_eq!(only.grow(30).err(), Some(Refused::Full));
    drop(only);
    assert!(pool.try_acquire(user("b"), 50).is_ok());
}

#[test]
fn requests_of_a_party_beyond_its_quarter_go_on_when_another_one_comes() {
    let pool = pool(100);
    let mut own: Vec<_> = (0..3)
        .map(|_| pool.try_acquire(user("a"), 10).unwrap())
        .collect();
    let _other = pool.try_acquire(user("b"), 1).unwrap();
    assert_eq!(pool.try_acquire(user("a"), 1).err(), Some(Refused::Share));
    for permit in &mut own {
        assert!(permit.grow(4).is_ok());
    }
    // As much as it leaves free is its bound.
    assert!(own[0].grow(7).is_ok());
    assert_eq!(own[0].grow(1).err(), Some(Refused::Share));
    assert_eq!(pool.try_acquire(user("a"), 1).err(), Some(Refused::Share));
}

#[tokio::test]
async fn waiting_tenants_are_served_in_turn() {
    let pool = pool(1);
    let first = pool.acquire(user("a"), LONG).await.unwrap();
    let mut own: Vec<_> = (0..3)
        .map(|_| Box::pin(pool.acquire(user("a"), LONG)))
        .collect();
    for waiting in &mut own {
        assert!(waiting.now_or_never().is_none());
    }
    let mut other = pin!(pool.acquire(user("b"), LONG));
    assert!(other.as_mut().now_or_never().is_none());
    drop(first);
    let second = own.remove(0).now_or_never().unwrap().unwrap();
    drop(second);
    let third = other.now_or_never().unwrap().unwrap();
    assert!(own[0].as_mut().now_or_never().is_none());
    // One whose client is gone is passed over.
    drop(own.remove(0));
    drop(third);
    drop(own.remove(0).now_or_never().unwrap().unwrap());
    assert!(is_idle(&pool));
}

#[tokio::test]
async fn a_newcomer_does_not_wait_behind_another_tenant_s_queue() {
    let pool = pool(8);
    let held = fill(&pool, user("a"));
    let mut queued: Vec<_> = (0..100)
        .map(|_| Box::pin(pool.acquire(user("a"), LONG)))
        .collect();
    for waiting in &mut queued {
        assert!(waiting.now_or_never().is_none());
    }
    assert!(pool.acquire(user("b"), LONG).now_or_never().is_some());
    drop((held, queued));
    assert_eq!(pool.lock().ledger.used, 0);
}

#[tokio::test]
async fn a_wait_ends_with_what_it_waited_for() {
    let metrics = Metrics::new();
    let pool = Shares::new("tests", 8, &metrics);
    let _held = fill(&pool, user("a"));
    let short = Duration::from_millis(10);
    let refused = pool.acquire(user("a"), short).await;
    assert_eq!(refused.err(), Some(Refused::Share));
    let problem = Refused::Share.problem(ProblemType::TooManyDownloads, "downloads", 2);
    assert_eq!(problem.kind.status(), 429);
    let line = r#"fovea_api_refusals_total{pool="tests",reason="share"} 2"#;
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

/// What a client does next.
#[derive(Clone, Debug)]
enum Step {
    /// A party asks for a permit, and waits for it.
    Ask(u8),
    /// A client disconnects, with or without its permit.
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..6_u8).prop_map(Step::Ask),
        2 => any::<usize>().prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn nobody_waits_for_ever_and_nothing_is_lost(steps in steps(), total in 1..20_usize) {
        let pool = pool(total);
        let mut waiting: Vec<(Parties, futures::future::BoxFuture<'_, Result<Permit, Refused>>)> = Vec::new();
        let mut held: Vec<Permit> = Vec::new();
        let poll = |waiting: &mut Vec<(Parties, futures::future::BoxFuture<'_, Result<Permit, Refused>>)>, held: &mut Vec<Permit>| {
            waiting.retain_mut(|(_, future)| match future.now_or_never() {
                Some(permit) => { held.extend(permit.ok()); false }
                None => true,
            });
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        for step in steps {
            match step {
                Step::Ask(party) => {
                    let parties = user(&party.to_string());
                    waiting.push((parties, Box::pin(pool.acquire(parties, LONG))));
                }
                Step::Leave(n) if n % 2 == 0 && !held.is_empty() => { held.swap_remove(n / 2 % held.len()); }
                Step::Leave(n) if !waiting.is_empty() => { drop(waiting.swap_remove(n / 2 % waiting.len())); }
                Step::Leave(_) => {}
            }
            poll(&mut waiting, &mut held);
            let state = pool.lock();
            prop_assert_eq!(state.ledger.used, held.len());
            prop_assert!(held.len() <= total);
            // Who holds nothing waits only while the pool is full.
            for (parties, _) in &waiting {
                let holds = held.iter().any(|permit| permit.parties == *parties);
                prop_assert!(holds || held.len() == total);
            }
        }
        while !(held.is_empty() && waiting.is_empty()) {
            prop_assert!(!held.is_empty(), "everybody waits");
            held.pop();
            poll(&mut waiting, &mut held);
        }
        prop_assert!(is_idle(&pool));
    }

    #[test]
    fn a_grant_beside_others_stays_within_a_quarter(asks in proptest::collection::vec((0..5_u64, 1..40_usize), 1..100), total in 8..1000_usize) {
        let mut ledger = Ledger::new(total);
        for (party, wanted) in asks {
            let parties = Parties([Some(party), None]);
            let before = ledger.held.get(&party).copied().unwrap_or_default();
            let is_alone = before == ledger.used;
            if ledger.check(parties, 0, wanted).is_ok() {
                ledger.take(parties, wanted);
                let bound = if is_alone { total / 2 } else { total / SHARES };
                prop_assert!(before == 0 || before + wanted <= bound);
                prop_assert!(before == 0 || before + wanted <= total - ledger.used);
            }
        }
    }
}
