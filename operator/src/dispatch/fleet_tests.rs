use super::*;
use crate::fixtures::served;

fn up(endpoint: &str, instance: &str, slots: u32) -> Answer {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = RunnerClient::new(endpoint.parse().unwrap(), None, None).unwrap();
    let state = RunnerState {
        instance: instance.into(),
        slots,
        busy: 0,
        shard_slots: 2,
        shards_busy: 0,
        models: vec![served("blip")],
    };
    Answer {
        client,
        leader: LeaderRequest {
            installation: "i".to_owned(),
            epoch: 1,
            holder: None,
        },
        state,
    }
}

fn fleet(slots: &[u32]) -> (Fleet, Vec<String>) {
    let endpoints: Vec<String> = (0..slots.len())
        .map(|index| format!("http://127.0.0.1:{}/", 9000 + index))
        .collect();
    let mut fleet = Fleet::default();
    fleet.keep(&endpoints);
    for (endpoint, slots) in endpoints.iter().zip(slots) {
        fleet.report(endpoint, Ok(up(endpoint, "i", *slots)));
    }
    (fleet, endpoints)
}

#[test]
fn a_fleet_is_checked_once_every_runner_has_answered_or_failed() {
    let mut fleet = Fleet::default();
    assert!(fleet.is_checked());
    fleet.keep(&["a".to_owned(), "b".to_owned()]);
    assert!(!fleet.is_checked());
    fleet.report("a", Ok(up("http://127.0.0.1:9000/", "i", 1)));
    assert!(!fleet.is_checked());
    fleet.report("b", Err(Failure::Unavailable("refused".to_owned())));
    assert!(fleet.is_checked());
}

#[test]
fn a_runner_that_refuses_the_leader_gets_no_jobs_until_it_obeys_with_the_epoch_announced_then() {
    let (mut fleet, endpoints) = fleet(&[1]);
    let endpoint = &endpoints[0];
    fleet.report(endpoint, Err(Failure::StaleEpoch("epoch 7".to_owned())));
    assert!(!fleet.has_room("blip"));
    let health = fleet.loads()[endpoint].health.clone();
    assert_eq!(health, Health::Refusing("epoch 7".to_owned()));
    let mut answer = up(endpoint, "i", 1);
    answer.leader.epoch = 8;
    fleet.report(endpoint, Ok(answer));
    assert_eq!(fleet.choose("blip", None).unwrap().leader.epoch, 8);
}

#[test]
fn jobs_go_to_the_least_loaded_runner_until_no_slot_is_free() {
    let (mut fleet, endpoints) = fleet(&[1, 2]);
    let taken: Vec<String> = std::iter::from_fn(|| fleet.choose("blip", None))
        .map(|c| c.client.address().to_string())
        .collect();
    assert_eq!(taken, [&*endpoints[0], &*endpoints[1], &*endpoints[1]]);
    assert!(!fleet.has_room("blip"));
    fleet.released(&endpoints[0], RunnerWas::Fine);
    assert!(fleet.has_room("blip"));
    assert!(!fleet.has_room("vit"));
}

#[test]
fn a_runner_without_room_gets_no_job_until_its_next_check() {
    let (mut fleet, endpoints) = fleet(&[4]);
    fleet.choose("blip", None).unwrap();
    fleet.released(&endpoints[0], RunnerWas::Unavailable);
    assert!(!fleet.has_room("blip"));
    fleet.report(&endpoints[0], Ok(up(&endpoints[0], "i", 4)));
    assert!(fleet.has_room("blip"));
}

#[test]
fn a_runner_that_is_about_to_end_gets_no_new_jobs_and_keeps_those_it_has() {
    let (mut fleet, endpoints) = fleet(&[4]);
    fleet.choose("blip", None).unwrap();
    fleet.leave(&endpoints[0], true);
    assert!(!fleet.has_room("blip") && fleet.choose("blip", None).is_none());
    assert_eq!(fleet.loads()[&endpoints[0]].running, 1);
    fleet.leave(&endpoints[0], false);
    assert!(fleet.has_room("blip"));
}

#[test]
fn another_runner_is_preferred_to_the_one_that_was_lost_but_a_lone_one_is_not_refused() {
    let (mut both, endpoints) = fleet(&[4, 4]);
    let next = both.choose("blip", Some(&endpoints[0])).unwrap();
    assert_eq!(next.client.address().as_str(), endpoints[1]);
    let (mut lone, endpoints) = fleet(&[4]);
    assert!(lone.choose("blip", Some(&endpoints[0])).is_some());
}

#[test]
fn a_runner_is_proven_by_a_job_and_no_longer_when_it_has_restarted() {
    let (mut fleet, endpoints) = fleet(&[4]);
    assert!(!fleet.choose("blip", None).unwrap().idle_and_proven);
    fleet.released(&endpoints[0], RunnerWas::Fine);
    assert!(fleet.choose("blip", None).unwrap().idle_and_proven);
    assert!(
        !fleet.choose("blip", None).unwrap().idle_and_proven,
        "it is not idle"
    );
    fleet.released(&endpoints[0], RunnerWas::Fine);
    fleet.released(&endpoints[0], RunnerWas::Fine);
    fleet.report(&endpoints[0], Ok(up(&endpoints[0], "another", 4)));
    assert!(!fleet.choose("blip", None).unwrap().idle_and_proven);
}
