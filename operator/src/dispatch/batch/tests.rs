use super::*;
use crate::fixtures::{job, pool};

fn active(parallelism: Option<u32>, is_going_on: bool, left: Option<u64>) -> Active {
    let mut job = job();
    job.spec.parallelism = parallelism;
    Active {
        namespace: "a".to_owned(),
        placement: Placement {
            pool: pool(),
            model: "blip".to_owned(),
        },
        job: watch::channel(Arc::new(job)).0,
        grants: mpsc::channel(1).0,
        usable: 0,
        granted: 0,
        left: left.map(|pictures| Left {
            pictures,
            done: 0,
            at_once: 4,
            progressed: Instant::now(),
        }),
        is_going_on,
    }
}

#[test]
fn a_batch_that_is_being_planned_wants_a_runner_already() {
    let mut batches = Batches::new(mpsc::unbounded_channel().0);
    for (number, batch) in [
        active(None, true, None),
        active(Some(0), true, None),
        active(None, false, None),
        active(None, true, Some(70)),
    ]
    .into_iter()
    .enumerate()
    {
        batches.by_uid.insert(number.to_string(), batch);
    }
    let left = batches.left()[&pool()];
    assert_eq!((left.planning, left.batches), (1, 1));
    assert_eq!((left.pictures, left.at_once), (70, 4));
}
