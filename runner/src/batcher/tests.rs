use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

#[derive(Clone, Debug, PartialEq)]
struct Picture {
    id: u32,
    class: Class,
    group: Group,
    dropped: bool,
}

impl Waiting for Picture {
    fn class(&self) -> Class {
        self.class
    }

    fn group(&self) -> Group {
        self.group
    }

    fn pixels(&self) -> u64 {
        10
    }

    fn dropped(&self) -> bool {
        self.dropped
    }
}

fn picture(id: u32, model: usize, tokens: usize) -> Picture {
    let key = BatchKey {
        tokens,
        ..BatchKey::default()
    };
    Picture {
        id,
        class: Class::Single,
        group: Group {
            model,
            key,
            exclusive: false,
        },
        dropped: false,
    }
}

/// The ids of every batch until nothing waits.
fn batches(pictures: Vec<Picture>, pictures_limit: usize, pixels: u64) -> Vec<Vec<u32>> {
    let mut batcher = Batcher::default();
    for picture in pictures {
        batcher.push(picture);
    }
    let limits = BatchLimits {
        pictures: pictures_limit,
        pixels,
    };
    std::iter::from_fn(|| batcher.next_batch(|_| limits))
        .map(|batch| batch.iter().map(|picture| picture.id).collect())
        .collect()
}

#[test]
fn what_fits_the_first_goes_with_it_and_the_rest_keeps_its_order() {
    let pictures = vec![
        picture(1, 0, 1),
        picture(2, 0, 3),
        picture(3, 0, 1),
        picture(4, 0, 3),
    ];
    assert_eq!(batches(pictures, 8, 1000), [vec![1, 3], vec![2, 4]]);
}

#[test]
fn only_a_pass_of_shards_that_has_room_waits_for_more() {
    let limits = |_| BatchLimits {
        pictures: 3,
        pixels: 1000,
    };
    let shard = |id| Picture {
        class: Class::Shard(1),
        ..picture(id, 0, 1)
    };
    let mut batcher = Batcher::default();
    assert!(!batcher.should_gather(limits));
    batcher.push(shard(1));
    batcher.push(shard(2));
    assert!(batcher.should_gather(limits));
    // Two have as many pixels as fit.
    assert!(!batcher.should_gather(|_| BatchLimits {
        pictures: 3,
        pixels: 20,
    }));
    batcher.push(shard(3));
    assert!(!batcher.should_gather(limits));

    let mut batcher = Batcher::default();
    batcher.push(shard(1));
    batcher.push(picture(2, 0, 1));
    assert!(!batcher.should_gather(limits));
}

#[test]
fn models_take_turns_however_many_pictures_wait_for_one() {
    let mut pictures: Vec<_> = (1..=5).map(|id| picture(id, 0, 1)).collect();
    pictures.push(picture(6, 1, 1));
    pictures.push(picture(7, 2, 1));
    pictures.push(picture(8, 1, 2));
    assert_eq!(
        batches(pictures, 2, 1000),
        [vec![1, 2], vec![6], vec![7], vec![3, 4], vec![8], vec![5]]
    );
}

#[test]
fn a_batch_has_its_bounds_in_pictures_and_in_pixels() {
    let pictures: Vec<_> = (1..=5).map(|id| picture(id, 0, 1)).collect();
    let by_number = [vec![1, 2], vec![3, 4], vec![5]];
    assert_eq!(batches(pictures.clone(), 2, 1000), by_number);
    let by_pixels = [vec![1, 2, 3], vec![4, 5]];
    assert_eq!(batches(pictures.clone(), 8, 30), by_pixels);
    let one_alone_may_have_more = [[1], [2], [3], [4], [5]];
    assert_eq!(batches(pictures, 8, 5), one_alone_may_have_more);
}

#[test]
fn an_exclusive_picture_runs_alone() {
    let mut pictures: Vec<_> = (1..=3).map(|id| picture(id, 0, 1)).collect();
    pictures[1].group.exclusive = true;
    assert_eq!(batches(pictures, 8, 1000), [vec![1, 3], vec![2]]);
}

#[test]
fn cancelled_pictures_are_not_run() {
    let mut pictures: Vec<_> = (1..=3).map(|id| picture(id, 0, 1)).collect();
    pictures[0].dropped = true;
    assert_eq!(batches(pictures, 8, 1000), [vec![2, 3]]);
}

fn of_shard(id: u32, shard: u64) -> Picture {
    Picture {
        class: Class::Shard(shard),
        ..picture(id, 0, 1)
    }
}

#[test]
fn single_jobs_go_first_and_the_pictures_of_shards_fill_their_passes() {
    let mut pictures: Vec<_> = (1..=4).map(|id| of_shard(id, 1)).collect();
    pictures.extend([picture(5, 0, 1), picture(6, 0, 2)]);
    assert_eq!(
        batches(pictures, 3, 1000),
        [vec![5, 1, 2], vec![6], vec![3, 4]]
    );
}

#[test]
fn a_pass_of_shards_is_filled_by_them_first() {
    let mut pictures: Vec<_> = (1..=5).map(|id| of_shard(id, 1)).collect();
    pictures.extend((6..=12).map(|id| picture(id, 0, 1)));
    for id in [6, 7, 8] {
        pictures[id - 1].group.exclusive = true;
    }
    let alone = |id| vec![id];
    assert_eq!(
        batches(pictures, 6, 1000),
        [
            alone(6),
            alone(7),
            alone(8),
            vec![1, 2, 3, 4, 5, 9],
            vec![10, 11, 12]
        ]
    );
}

#[test]
fn shards_take_turns_picture_by_picture() {
    let mut pictures: Vec<_> = (1..=5).map(|id| of_shard(id, 1)).collect();
    pictures.extend((6..=8).map(|id| of_shard(id, 2)));
    assert_eq!(
        batches(pictures, 3, 1000),
        [vec![1, 6, 2], vec![7, 3, 8], vec![4, 5]]
    );
}

const MODELS: usize = 3;

/// What arrives before a pass: single jobs and pictures of shards.
fn arrivals() -> impl Strategy<Value = Vec<Picture>> {
    let picture = (0..4_u64, 0..MODELS, 0..2_usize, prop::bool::weighted(0.1)).prop_map(
        |(shard, model, tokens, exclusive)| {
            let mut picture = picture(0, model, tokens);
            picture.group.exclusive = exclusive;
            if shard > 0 {
                picture.class = Class::Shard(shard);
            }
            picture
        },
    );
    prop::collection::vec(picture, 0..12)
}

/// A pass: the pictures that waited before it, and those that it took.
struct Pass {
    waiting: Vec<Picture>,
    taken: Vec<Picture>,
}

impl Pass {
    fn first_is_single(&self) -> bool {
        self.taken[0].class == Class::Single
    }
}

/// Runs passes of at most `pictures` over `arrivals`, and then until nothing waits.
fn passes(arrivals: Vec<Vec<Picture>>, pictures: usize) -> Vec<Pass> {
    let mut batcher = Batcher::default();
    let mut waiting = Vec::<Picture>::new();
    let mut arrivals = arrivals.into_iter();
    let mut passes = Vec::new();
    let mut ids = 0..;
    loop {
        let arrived = arrivals.next();
        let is_last = arrived.is_none();
        for mut picture in arrived.into_iter().flatten() {
            picture.id = ids.next().unwrap();
            waiting.push(picture.clone());
            batcher.push(picture);
        }
        let limits = BatchLimits {
            pictures,
            pixels: 1000,
        };
        match batcher.next_batch(|_| limits) {
            Some(taken) => {
                let before = waiting.clone();
                waiting.retain(|picture| !taken.contains(picture));
                passes.push(Pass {
                    waiting: before,
                    taken,
                });
            }
            None if is_last => return passes,
            None => {}
        }
    }
}

proptest! {
    #[test]
    fn every_picture_runs_once_and_those_of_a_sender_that_can_share_passes_in_order(
        arrivals in prop::collection::vec(arrivals(), 0..20),
        pictures in 1..8_usize,
    ) {
        let arrived: usize = arrivals.iter().map(Vec::len).sum();
        let taken: Vec<_> = (passes(arrivals, pictures).into_iter())
            .inspect(|pass| assert!(pass.taken.len() <= pictures))
            .inspect(|pass| assert!(pass.taken.iter().all(|one| one.group == pass.taken[0].group)))
            .inspect(|pass| assert!(pass.taken.len() == 1 || !pass.taken[0].group.exclusive))
            .flat_map(|pass| pass.taken)
            .collect();
        let mut ids: Vec<_> = taken.iter().map(|picture| picture.id).collect();
        for (i, picture) in taken.iter().enumerate() {
            let earlier = taken[i..].iter().find(|later| {
                (later.class, later.group) == (picture.class, picture.group) && later.id < picture.id
            });
            prop_assert_eq!(earlier, None);
        }
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), arrived);
    }

    #[test]
    fn a_single_job_waits_for_at_most_a_third_more_passes_than_without_any_batch(
        arrivals in prop::collection::vec(arrivals(), 0..20),
        pictures in 1..8_usize,
    ) {
        // A model has every third of the passes that begin with a single job, and such a pass takes the
        // first that waits for the model.
        let mut bounds = HashMap::new();
        for (i, Pass { waiting, taken }) in passes(arrivals, pictures).into_iter().enumerate() {
            let mut ahead = [0; MODELS];
            for single in waiting.iter().filter(|picture| picture.class == Class::Single) {
                ahead[single.group.model] += 1;
                let alone = ahead[single.group.model] * MODELS;
                bounds.entry(single.id).or_insert(i + alone + alone / 3 + 1);
            }
            for single in taken {
                prop_assert!(bounds.get(&single.id).is_none_or(|&bound| i < bound));
            }
        }
    }

    #[test]
    fn of_four_passes_one_begins_with_a_shard_that_waits(
        arrivals in prop::collection::vec(arrivals(), 0..20),
        pictures in 1..8_usize,
    ) {
        let is_of_shard = |picture: &Picture| picture.class != Class::Single;
        for four in passes(arrivals, pictures).windows(4) {
            let passed_over = four.iter().all(|pass| {
                pass.first_is_single() && pass.waiting.iter().any(is_of_shard)
            });
            prop_assert!(!passed_over);
        }
    }

    #[test]
    fn a_pass_of_shards_has_no_single_job_in_place_of_one_of_their_pictures(
        arrivals in prop::collection::vec(arrivals(), 0..20),
        pictures in 1..8_usize,
    ) {
        for pass in passes(arrivals, pictures) {
            let first_is_single = pass.first_is_single();
            let of_first_kind = |picture: &&Picture| {
                (picture.class == Class::Single) == first_is_single
            };
            let group = pass.taken[0].group;
            let could = pass.waiting.iter().filter(of_first_kind)
                .filter(|picture| picture.group == group).count();
            let did = pass.taken.iter().filter(of_first_kind).count();
            let bound = if group.exclusive { 1 } else { pictures };
            prop_assert_eq!(did, could.min(bound));
        }
    }

    #[test]
    fn shards_that_always_have_pictures_share_them_evenly(
        singles in prop::collection::vec(0..4_usize, 1..40),
        pictures in 1..8_usize,
        shards in 1..4_u64,
    ) {
        let mut batcher = Batcher::default();
        let mut taken = HashMap::<Class, usize>::new();
        let limits = BatchLimits { pictures, pixels: 1000 };
        for shard in 0..shards {
            taken.insert(Class::Shard(shard), 0);
            for id in 0..400 {
                batcher.push(of_shard(id, shard));
            }
        }
        for singles in singles {
            for id in 0..singles {
                batcher.push(picture(u32::try_from(id).unwrap(), 0, 1));
            }
            for picture in batcher.next_batch(|_| limits).unwrap() {
                *taken.entry(picture.class).or_default() += 1;
            }
            taken.remove(&Class::Single);
            let (least, most) = (taken.values().min(), taken.values().max());
            prop_assert!(most.unwrap() - least.unwrap() <= 1, "{:?}", taken);
        }
    }
}
