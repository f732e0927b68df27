use super::*;
use proptest::prelude::*;

/// Shards that can run at once.
const AT_ONCE: u32 = 2;

fn retry() -> (u32, impl Fn(u32) -> Duration) {
    (1, |_| Duration::from_mins(1))
}

fn pictures(numbers: &[u64]) -> Vec<Shard> {
    let shard = |pictures: &u64| Shard {
        pictures: Some(*pictures),
        bytes: 1,
    };
    numbers.iter().map(shard).collect()
}

fn archive() -> Vec<Shard> {
    vec![Shard {
        pictures: None,
        bytes: 10,
    }]
}

fn metadata(succeeded: u64, failed: u64) -> PartMetadata {
    PartMetadata {
        succeeded,
        failed,
        skipped: 0,
        bytes: 0,
        sha256: String::new(),
        formatted: None,
        reused: 0,
    }
}

fn part(shard: u32, from: u64, to: u64, end: bool) -> PartName {
    PartName {
        shard,
        from,
        to,
        end,
    }
}

fn done(range: &Range) -> Ended {
    let to = range.to.unwrap();
    Ended::Part {
        part: part(range.shard, range.from, to, false),
        metadata: Some(metadata(to - range.from, 0)),
        stopped: None,
    }
}

fn failure(retryable: bool) -> Failure {
    Failure {
        reason: "FetchFailed".to_owned(),
        message: "no".to_owned(),
        retryable,
    }
}

fn waiting(progress: &Progress) -> Vec<(u32, u64, Option<u64>)> {
    let ranges = progress.waiting.values();
    ranges
        .map(|range| (range.shard, range.from, range.to))
        .collect()
}

#[test]
fn after_a_restart_only_what_has_no_part_is_left() {
    let parts = vec![
        part(0, 0, 10, true),
        part(1, 2, 5, false),
        part(1, 2, 4, false),
        part(2, 0, 3, false),
    ];
    let progress = Progress::new(pictures(&[10, 10, 3, 4, 0]), 7, parts);
    assert_eq!(
        waiting(&progress),
        [(1, 0, Some(2)), (1, 5, Some(10)), (3, 0, Some(4))]
    );
    assert_eq!(progress.undescribed(9).len(), 3);
    assert_eq!(progress.counts().skipped, 7);
}

#[test]
fn an_archive_is_left_until_a_part_has_its_end() {
    let open = Progress::new(archive(), 0, vec![part(0, 0, 5, false)]);
    assert_eq!(waiting(&open), [(0, 5, None)]);
    let whole = vec![part(0, 0, 5, false), part(0, 5, 8, true)];
    assert!(Progress::new(archive(), 0, whole).is_done());
}

#[test]
fn what_is_left_is_shared_out_and_the_last_ranges_are_smaller() {
    let mut progress = Progress::new(pictures(&[1000, 1000]), 0, Vec::new());
    let now = Instant::now();
    let mut sizes = Vec::new();
    while let Some((attempt, range)) = progress.take(now, AT_ONCE, true) {
        sizes.push(range.pictures().unwrap());
        progress.ended(attempt, done(&range), now, retry());
    }
    assert_eq!(sizes[..2], [500, 375]);
    assert!(sizes.len() < 25, "{sizes:?}");
    assert_eq!(progress.counts().succeeded, 2000);
    assert_eq!((progress.permille(), progress.is_done()), (1000, true));
}

#[test]
fn a_picture_that_ends_its_runner_costs_only_itself() {
    let mut progress = Progress::new(pictures(&[1000]), 0, Vec::new());
    let (mut now, mut losses) = (Instant::now(), 0);
    while !progress.is_done() {
        now += Duration::from_mins(1);
        let (attempt, range) = progress.take(now, 1, true).unwrap();
        let kills = (range.from..range.to.unwrap()).contains(&637) && range.error.is_none();
        let ended = if kills {
            losses += 1;
            Ended::Lost
        } else if let Some(error) = &range.error {
            assert_eq!((range.from, range.to), (637, Some(638)));
            assert_eq!(error.reason, "RunnerLost");
            Ended::Part {
                part: part(0, 637, 638, false),
                metadata: Some(metadata(0, 1)),
                stopped: None,
            }
        } else {
            done(&range)
        };
        progress.ended(attempt, ended, now, retry());
    }
    let counts = progress.counts();
    assert_eq!((counts.succeeded, counts.failed), (999, 1));
    assert!(losses <= 13, "{losses} runners");
}

#[test]
fn a_lost_range_of_an_archive_is_divided_where_it_was() {
    let mut progress = Progress::new(archive(), 0, Vec::new());
    let now = Instant::now();
    let (attempt, _) = progress.take(now, AT_ONCE, true).unwrap();
    let beat = Beat {
        begun: 40,
        ..Beat::default()
    };
    progress.beat(attempt, beat);
    progress.ended(attempt, Ended::Lost, now, retry());
    assert_eq!(waiting(&progress), [(0, 0, Some(40)), (0, 40, None)]);
    let (attempt, _) = progress
        .take(now + Duration::from_secs(9), AT_ONCE, true)
        .unwrap();
    progress.ended(attempt, Ended::Lost, now, retry());
    assert_eq!(waiting(&progress)[0], (0, 0, Some(20)));
}

#[test]
fn an_archive_that_ends_its_runner_before_anything_is_known_is_divided_after_its_first_picture() {
    let mut progress = Progress::new(archive(), 0, Vec::new());
    let (attempt, _) = progress.take(Instant::now(), AT_ONCE, true).unwrap();
    progress.ended(attempt, Ended::Lost, Instant::now(), retry());
    assert_eq!(waiting(&progress), [(0, 0, Some(1)), (0, 1, None)]);
}

#[test]
fn what_fails_is_tried_again_after_its_delay_and_then_only_its_first_picture_fails() {
    let mut progress = Progress::new(pictures(&[10]), 0, Vec::new());
    let now = Instant::now();
    let stopped = || Ended::Stopped(Stopped::Failed(failure(true)));
    let (attempt, _) = progress.take(now, AT_ONCE, true).unwrap();
    progress.ended(attempt, stopped(), now, retry());
    assert!(progress.take(now, AT_ONCE, true).is_none());
    let due = now + Duration::from_mins(1);
    assert!(
        progress
            .take(now + Duration::from_secs(59), AT_ONCE, true)
            .is_none()
    );
    let (attempt, _) = progress.take(due, AT_ONCE, true).unwrap();
    progress.ended(attempt, stopped(), due, retry());
    assert_eq!(waiting(&progress), [(0, 0, Some(1)), (0, 1, Some(10))]);
    let (_, first) = progress.take(due, AT_ONCE, true).unwrap();
    assert_eq!(first.error.unwrap().reason, "FetchFailed");
    let (_, rest) = progress.take(due, AT_ONCE, true).unwrap();
    assert_eq!((rest.error, rest.from), (None, 1));
}

#[test]
fn what_is_left_of_archives_is_estimated_by_their_bytes() {
    let shards = (0..4).map(|_| Shard {
        pictures: None,
        bytes: 1000,
    });
    let mut progress = Progress::new(shards.collect(), 0, Vec::new());
    let now = Instant::now();
    let (first, _) = progress.take(now, AT_ONCE, true).unwrap();
    assert_eq!(progress.permille(), 0);
    let ended = Ended::Part {
        part: part(0, 0, 10, true),
        metadata: Some(metadata(10, 0)),
        stopped: None,
    };
    progress.ended(first, ended, now, retry());
    let (second, _) = progress.take(now, AT_ONCE, true).unwrap();
    let beat = Beat {
        succeeded: 6,
        begun: 8,
        ..Beat::default()
    };
    progress.beat(second, beat);
    assert_eq!((progress.pictures_left(), progress.permille()), (24, 400));
}

#[test]
fn an_outage_of_the_store_costs_no_attempt() {
    let mut progress = Progress::new(pictures(&[10]), 0, Vec::new());
    let mut now = Instant::now();
    for _ in 0..100 {
        let (attempt, range) = progress.take(now, AT_ONCE, true).unwrap();
        assert_eq!(range.error, None);
        progress.ended(attempt, Ended::Stopped(Stopped::StoreDown), now, retry());
        now += Duration::from_mins(1);
    }
}

#[test]
fn the_rest_of_a_range_that_ended_early_waits() {
    let mut progress = Progress::new(pictures(&[10]), 0, Vec::new());
    let now = Instant::now();
    let (attempt, _) = progress.take(now, AT_ONCE, true).unwrap();
    let ended = Ended::Part {
        part: part(0, 0, 4, false),
        metadata: Some(metadata(3, 1)),
        stopped: None,
    };
    progress.ended(attempt, ended, now, retry());
    assert_eq!(waiting(&progress), [(0, 4, Some(10))]);
    assert_eq!(progress.permille(), 400);
}

#[test]
fn a_batch_fails_above_its_share_of_failed_pictures_and_not_at_it() {
    let mut progress = Progress::new(pictures(&[10]), 0, Vec::new());
    let (attempt, _) = progress.take(Instant::now(), AT_ONCE, true).unwrap();
    let beat = |failed| Beat {
        failed,
        ..Beat::default()
    };
    progress.beat(attempt, beat(1));
    assert!(!progress.has_failed(100));
    progress.beat(attempt, beat(2));
    assert!(progress.has_failed(100));
    progress.beat(attempt, beat(10));
    assert!(!progress.has_failed(1000));
    progress.stop();
    assert_eq!(progress.permille(), 0);
    assert!(!progress.is_done());
}

#[test]
fn a_part_that_is_gone_is_done_again() {
    let mut progress = Progress::new(pictures(&[4]), 0, vec![part(0, 0, 4, true)]);
    assert!(progress.is_done());
    progress.missing(part(0, 0, 4, true));
    assert_eq!(waiting(&progress), [(0, 0, Some(4))]);
}

#[derive(Clone, Debug)]
enum Fate {
    Done,
    Half,
    Lost,
    Failed,
    NotBegun,
    Restart,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        4 => Just(Fate::Done), 1 => Just(Fate::Half), 1 => Just(Fate::Lost),
        1 => Just(Fate::Failed), 1 => Just(Fate::NotBegun), 1 => Just(Fate::Restart),
    ];
    prop::collection::vec(fate, 0..60)
}

proptest! {
    /// Whatever happens to the attempts, every picture has exactly one row at the end.
    #[test]
    fn every_picture_has_one_row(
        shards in prop::collection::vec(0u64..700, 0..5), fates in fates(), at_once in 1u32..4,
    ) {
                let mut progress = Progress::new(pictures(&shards), 0, Vec::new());
        let mut now = Instant::now();
        let mut fates = fates.into_iter();
        let mut steps = 0;
        while !progress.is_done() {
            steps += 1;
            prop_assert!(steps < 5000);
            now += Duration::from_mins(2);
            let (attempt, range) = progress.take(now, at_once, true).unwrap();
            let fate = fates.next().unwrap_or(Fate::Done);
            let ended = match fate {
                Fate::Done => done(&range),
                Fate::Half => {
                    let to = range.from + range.pictures().unwrap().div_ceil(2);
                    Ended::Part {
                        part: part(range.shard, range.from, to, false),
                        metadata: Some(metadata(to - range.from, 0)),
                        stopped: None,
                    }
                }
                Fate::Lost => Ended::Lost,
                Fate::Failed => Ended::Stopped(Stopped::Failed(failure(true))),
                Fate::NotBegun => Ended::NotBegun,
                Fate::Restart => {
                    let parts = progress.done.values().map(|(part, _)| *part).collect();
                    let known = progress.parts();
                    progress = Progress::new(pictures(&shards), 0, parts);
                    for (part, metadata) in known {
                        progress.describe(part, metadata);
                    }
                    continue;
                }
            };
            progress.ended(attempt, ended, now, retry());
        }
        let mut next: BTreeMap<u32, u64> = BTreeMap::new();
        for (part, _) in progress.parts() {
            let from = next.entry(part.shard).or_default();
            prop_assert_eq!(part.from, *from);
            *from = part.to;
        }
        for (number, pictures) in shards.iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            prop_assert_eq!(next.get(&number).copied().unwrap_or(0), *pictures);
        }
        prop_assert_eq!(progress.counts().succeeded, shards.iter().sum::<u64>());
        prop_assert_eq!(progress.waiting_pictures, 0);
    }
}
