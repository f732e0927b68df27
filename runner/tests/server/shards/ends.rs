//! How attempts at shards end: early, late, and without their operator.

use super::bucket::Bucket;
use super::operator::{Attempt, Plan, done, rows, shard};
use crate::harness::{PATIENCE, Runner, settings, until};
use crate::support::picture;
use fovea_protocol::{Order, Reason, ShardLine};
use std::time::Duration;

/// A runner and a shard of 200 pictures that takes some seconds.
async fn slow() -> (Runner, Plan) {
    let mut settings = settings();
    settings.shards.fetches = 2;
    let (runner, bucket) = (Runner::start_vit(settings).await, Bucket::start().await);
    let keys = bucket.fill(200, &picture("rgb.png"));
    bucket.lock().delay = Duration::from_millis(50);
    let plan = Plan::new(&bucket, &keys);
    (runner, plan)
}

/// Serves until the store has delivered some pictures.
async fn serve_some(attempt: &mut Attempt, plan: &Plan) {
    while plan.bucket.lock().gets < 10 {
        tokio::select! {
            last = attempt.answer(plan) => assert!(last.is_none(), "{last:?}"),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
}

#[tokio::test]
async fn finish_ends_an_attempt_with_what_is_done() {
    let (runner, plan) = slow().await;
    let mut attempt = Attempt::begin(&runner, &shard(200)).await;
    serve_some(&mut attempt, &plan).await;
    attempt.send(Order::Finish).await;
    let part = done(attempt.serve(&plan).await);
    assert!(part.to > 0 && part.to < 200, "{part:?}");
    assert_eq!(rows(&plan, &part).len() as u64, part.to);
    // The rest is another attempt's.
    plan.bucket.lock().delay = Duration::ZERO;
    let rest = Plan {
        part: "rest",
        ..plan
    };
    let mut request = shard(200);
    request.from = part.to;
    let mut attempt = Attempt::begin(&runner, &request).await;
    let part = done(attempt.serve(&rest).await);
    assert_eq!(rows(&rest, &part)[0].key, format!("{:04}.png", part.from));
    assert_eq!(part.to, 200);
}

#[tokio::test]
async fn an_attempt_ends_by_itself_in_the_time_that_it_is_given() {
    let (runner, plan) = slow().await;
    let mut request = shard(200);
    request.finish_after_millis = 700;
    let mut attempt = Attempt::begin(&runner, &request).await;
    let part = done(attempt.serve(&plan).await);
    assert!(part.to < 200);
    rows(&plan, &part);
}

#[tokio::test]
async fn an_attempt_without_any_row_is_a_problem_and_an_empty_range_is_none() {
    let (runner, plan) = slow().await;
    let mut request = shard(200);
    request.finish_after_millis = 0;
    let mut attempt = Attempt::begin(&runner, &request).await;
    match attempt.serve(&plan).await {
        ShardLine::Problem(problem) => assert_eq!(problem.reason, Reason::NotReady),
        other => panic!("{other:?}"),
    }
    let mut attempt = Attempt::begin(&runner, &shard(0)).await;
    assert_eq!(done(attempt.serve(&plan).await).to, 0);
}

#[tokio::test]
async fn a_runner_that_shuts_down_writes_what_is_done() {
    let (runner, plan) = slow().await;
    let mut attempt = Attempt::begin(&runner, &shard(200)).await;
    serve_some(&mut attempt, &plan).await;
    runner.app.drain();
    match attempt.serve(&plan).await {
        ShardLine::Done {
            part,
            exists: false,
            stopped: Some(problem),
            ..
        } => {
            assert_eq!(problem.reason, Reason::NotReady);
            assert!(part.to > 0 && part.to < 200);
            rows(&plan, &part);
        }
        other => panic!("{other:?}"),
    }
    runner.app.idle().await;
}

#[tokio::test]
async fn a_deadline_that_passes_is_a_problem_and_nothing_is_written() {
    let (runner, plan) = slow().await;
    let mut request = shard(200);
    request.deadline_millis = 500;
    let mut attempt = Attempt::begin(&runner, &request).await;
    match attempt.serve(&plan).await {
        ShardLine::Problem(problem) => assert_eq!(problem.reason, Reason::DeadlineExceeded),
        other => panic!("{other:?}"),
    }
    assert!(plan.bucket.lock().puts.is_empty());
}

#[tokio::test]
async fn an_operator_that_disconnects_ends_everything_and_nothing_is_written() {
    let (runner, plan) = slow().await;
    let mut attempt = Attempt::begin(&runner, &shard(200)).await;
    serve_some(&mut attempt, &plan).await;
    drop(attempt);
    let idle = tokio::time::timeout(PATIENCE, runner.app.idle()).await;
    idle.expect("the slot was kept");
    let mut gets = plan.bucket.lock().gets;
    until(async || {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let before = std::mem::replace(&mut gets, plan.bucket.lock().gets);
        before == gets
    })
    .await;
    assert!(gets < 200 && plan.bucket.lock().puts.is_empty());
}

#[tokio::test]
async fn a_part_that_exists_is_another_writers_and_one_that_the_store_refuses_is_written_again() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    let keys = bucket.fill(5, &picture("rgb.png"));
    let plan = Plan::new(&bucket, &keys);
    bucket.lock().failing = Some(("part.jsonl".to_owned(), 2));
    let mut attempt = Attempt::begin(&runner, &shard(5)).await;
    let part = done(attempt.serve(&plan).await);
    assert_eq!(bucket.lock().puts.len(), 3);

    let mut attempt = Attempt::begin(&runner, &shard(5)).await;
    match attempt.serve(&plan).await {
        ShardLine::Done {
            part: other,
            exists: true,
            stopped: None,
            ..
        } => assert_eq!(other, part),
        other => panic!("{other:?}"),
    }
    rows(&plan, &part);
}

#[tokio::test]
async fn a_newer_attempt_of_a_shard_ends_the_older() {
    let (runner, plan) = slow().await;
    let mut request = shard(200);
    let mut older = Attempt::begin(&runner, &request).await;
    serve_some(&mut older, &plan).await;
    request.attempt = 2;
    let _newer = Attempt::begin(&runner, &request).await;
    match older.serve(&plan).await {
        ShardLine::Problem(problem) => assert_eq!(problem.reason, Reason::StaleEpoch),
        other => panic!("{other:?}"),
    }
}
