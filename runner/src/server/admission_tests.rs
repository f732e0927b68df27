use super::*;
use fovea_protocol::{InferRequest, ShardRequest};
use fovea_protocol::{Input, Parameters, PartFormat, ShardOf, Source, Task};

fn request(installation: &str, epoch: u64, job: &str, attempt: u32) -> InferRequest {
    InferRequest {
        installation: installation.to_owned(),
        epoch,
        job: job.to_owned(),
        attempt,
        task: Task::ImageToText,
        model: "m".to_owned(),
        input: Input {
            source: Source::Data(String::new()),
            sha256: None,
        },
        parameters: Parameters::default(),
        deadline_millis: 1,
        exclusive: false,
        reuse: false,
    }
}

fn admissions(jobs: u32) -> Admissions {
    let slots = Slots { jobs, shards: 1 };
    Admissions::new(slots, Duration::from_hours(1))
}

fn shard(job: &str, shard: u32, attempt: u32) -> ShardRequest {
    ShardRequest {
        installation: "i".to_owned(),
        epoch: 1,
        job: job.to_owned(),
        shard,
        attempt,
        task: Task::ImageToText,
        model: "m".to_owned(),
        parameters: Parameters::default(),
        format: PartFormat::Jsonl,
        of: ShardOf::Pictures,
        from: 0,
        to: Some(1),
        finish_after_millis: 1,
        deadline_millis: 1,
        exclusive: false,
        reuse: false,
    }
}

fn leader(installation: &str, epoch: u64) -> Sender<'_> {
    Sender {
        installation,
        epoch,
        holder: None,
    }
}

fn reason(refused: Result<Admission, Problem>) -> Reason {
    refused.unwrap_err().reason
}

#[test]
fn the_request_after_the_last_slot_is_busy_until_one_is_free() {
    let admissions = admissions(2);
    let first = admissions.admit(&request("i", 1, "a", 1)).unwrap();
    let _second = admissions.admit(&request("i", 1, "b", 1)).unwrap();
    assert_eq!(
        reason(admissions.admit(&request("i", 1, "c", 1))),
        Reason::Busy
    );
    assert_eq!(admissions.busy(), Slots { jobs: 2, shards: 0 });
    drop(first);
    admissions.admit(&request("i", 1, "c", 1)).unwrap();
}

#[test]
fn a_higher_epoch_aborts_the_lower_ones_of_its_own_installation() {
    let admissions = admissions(9);
    let mine = admissions.admit(&request("i", 1, "a", 1)).unwrap();
    let other = admissions.admit(&request("j", 1, "a", 1)).unwrap();
    admissions.observe(leader("i", 2)).unwrap();
    assert!(mine.abort.token.is_cancelled());
    assert!(!other.abort.token.is_cancelled());
    assert_eq!(
        reason(admissions.admit(&request("i", 1, "b", 1))),
        Reason::StaleEpoch
    );
    assert!(admissions.observe(leader("i", 1)).is_err());
    admissions.observe(leader("i", 2)).unwrap();
}

#[test]
fn a_request_of_a_higher_epoch_aborts_lower_ones_like_the_leaders_announcement() {
    let admissions = admissions(9);
    let old = admissions.admit(&request("i", 1, "a", 1)).unwrap();
    admissions.admit(&request("i", 2, "b", 1)).unwrap();
    assert!(old.abort.token.is_cancelled());
}

#[test]
fn a_newer_attempt_ends_the_older_even_when_it_finds_no_slot() {
    let admissions = admissions(1);
    let old = admissions.admit(&request("i", 1, "a", 1)).unwrap();
    assert_eq!(
        reason(admissions.admit(&request("i", 1, "a", 2))),
        Reason::Busy
    );
    assert!(old.abort.token.is_cancelled());
    drop(old);
    let new = admissions.admit(&request("i", 1, "a", 2)).unwrap();
    let late = admissions.admit(&request("i", 1, "a", 1));
    assert_eq!(reason(late), Reason::StaleEpoch);
    assert!(!new.abort.token.is_cancelled());
}

#[test]
fn a_leader_of_a_higher_epoch_may_count_a_job_s_attempts_from_1_again() {
    let admissions = admissions(2);
    let old = admissions.admit(&request("i", 1, "a", 3)).unwrap();
    admissions.admit(&request("i", 2, "a", 1)).unwrap();
    assert!(old.abort.token.is_cancelled());
}

#[test]
fn an_installation_with_a_running_job_is_not_forgotten() {
    let admissions = Admissions::new(Slots { jobs: 1, shards: 0 }, Duration::ZERO);
    let job = admissions.admit(&request("busy", 2, "a", 1)).unwrap();
    for number in 0..100 {
        admissions.observe(leader(&number.to_string(), 1)).unwrap();
    }
    assert!(admissions.observe(leader("busy", 1)).is_err());
    drop(job);
    for number in 0..100 {
        admissions.observe(leader(&number.to_string(), 1)).unwrap();
    }
    admissions.observe(leader("busy", 1)).unwrap();
}

#[test]
fn shards_have_slots_of_their_own_and_one_attempt_at_a_time() {
    let admissions = admissions(1);
    let job = admissions.admit(&request("i", 1, "a", 1)).unwrap();
    let first = admissions.admit(&shard("a", 0, 1)).unwrap();
    assert_eq!(admissions.busy(), Slots { jobs: 1, shards: 1 });
    assert_eq!(reason(admissions.admit(&shard("a", 1, 2))), Reason::Busy);
    assert!(!first.abort.token.is_cancelled() && !job.abort.token.is_cancelled());
    assert_eq!(reason(admissions.admit(&shard("a", 0, 3))), Reason::Busy);
    assert!(first.abort.token.is_cancelled() && !job.abort.token.is_cancelled());
    drop(first);
    let newer = admissions.admit(&shard("a", 0, 3)).unwrap();
    let late = admissions.admit(&shard("a", 0, 1));
    assert_eq!(reason(late), Reason::StaleEpoch);
    admissions.observe(leader("i", 2)).unwrap();
    assert!(newer.abort.token.is_cancelled());
}

#[test]
fn ranges_of_one_shard_run_beside_each_other_unless_they_have_a_picture_in_common() {
    let slots = Slots { jobs: 1, shards: 9 };
    let admissions = Admissions::new(slots, Duration::from_hours(1));
    let range = |attempt, from, to| ShardRequest {
        from,
        to,
        ..shard("a", 0, attempt)
    };
    let first = admissions.admit(&range(1, 0, Some(5))).unwrap();
    let second = admissions.admit(&range(2, 5, Some(9))).unwrap();
    let rest = admissions.admit(&range(3, 9, None)).unwrap();
    let is_aborted = |admission: &Admission| admission.abort.token.is_cancelled();
    assert!(![&first, &second, &rest].into_iter().any(is_aborted));
    assert_eq!(
        reason(admissions.admit(&range(1, 8, Some(9)))),
        Reason::StaleEpoch
    );
    let _newer = admissions.admit(&range(4, 8, None)).unwrap();
    assert!(!is_aborted(&first) && is_aborted(&second) && is_aborted(&rest));
}
