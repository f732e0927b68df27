//! Shards of pictures: their rows, and what a store does meanwhile.

use super::bucket::Bucket;
use super::operator::{Attempt, Plan, done, rows, shard};
use crate::harness::{Lines, Runner, caption, rgb, settings};
use crate::support::picture;
use fovea_protocol::{InferResult, Parameters, Reason, RowError, ShardLine, Task};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// The sum of a runner's counter or histogram, by its whole name with labels.
async fn metric(runner: &Runner, name: &str) -> f64 {
    let text = runner.get("/metrics").await.text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.expect(name).trim().parse().unwrap()
}

#[tokio::test]
async fn a_shard_s_rows_are_in_its_order() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    let bytes = picture("rgb.png");
    let keys = bucket.fill(300, &bytes);
    let mut plan = Plan::new(&bucket, &keys);
    plan.items[7].id = Some("seven".to_owned());
    let mut attempt = Attempt::begin(&runner, &shard(300)).await;
    let part = done(attempt.serve(&plan).await);
    assert_eq!(
        (part.from, part.to, part.succeeded, part.failed),
        (0, 300, 300, 0)
    );

    let rows = rows(&plan, &part);
    for (row, key) in rows.iter().zip(&keys) {
        assert_eq!(row.key, *key);
        let id = if key == "0007.png" { "seven" } else { key };
        assert_eq!(row.id, id);
        assert!(matches!(&row.result, Some(InferResult::Predictions(found)) if found.len() == 1));
        assert_eq!(row.sha256, Some(hex::encode(Sha256::digest(&bytes))));
        assert!(row.width.is_some() && row.height.is_some());
        assert_eq!(row.model.as_ref().unwrap().name, "vit");
    }
    let asked: Vec<_> = attempt.wanted.iter().map(|&(from, _)| from).collect();
    assert_eq!(asked, [0, 64, 128, 192, 256]);
    runner.app.idle().await;
    let pictures = r#"fovea_runner_shard_pictures_total{model="vit",outcome="success"}"#;
    assert!((metric(&runner, pictures).await - 300.0).abs() < 0.5);
}

#[tokio::test]
async fn pictures_that_wait_for_the_device_fill_its_passes() {
    let (runner, bucket) = (Runner::start(settings()).await, Bucket::start().await);
    let plan = Plan::new(&bucket, &bucket.fill(80, &picture("rgb.png")));
    let mut request = shard(80);
    (request.model, request.task) = ("golden".to_owned(), Task::ImageToText);
    request.parameters = rgb().parameters;
    let mut attempt = Attempt::begin(&runner, &request).await;
    let part = done(attempt.serve(&plan).await);
    assert_eq!((part.to, part.failed), (80, 0));
    let passes = metric(
        &runner,
        r#"fovea_runner_batch_pictures_count{model="golden"}"#,
    );
    let passes = passes.await;
    // Ten, had all been there at once.
    assert!(passes <= 25.0, "{passes} passes");
}

#[tokio::test]
async fn pictures_that_fail_are_rows_and_the_others_have_their_results() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    let keys = bucket.fill(40, &picture("rgb.png"));
    bucket.add(&keys[10], &b"no picture"[..]);
    bucket.add(&keys[11], vec![0; 100_001]);
    bucket.lock().objects.remove(&keys[12]);
    let mut plan = Plan::new(&bucket, &keys);
    plan.items[13].error = Some(RowError {
        reason: "InvalidLine".to_owned(),
        message: "line 13".to_owned(),
    });
    let parameters = |top_k, num_beams| Parameters {
        top_k,
        num_beams,
        ..Parameters::default()
    };
    plan.items[14].parameters = Some(parameters(None, Some(3)));
    plan.items[15].parameters = Some(parameters(Some(3), None));
    let mut attempt = Attempt::begin(&runner, &shard(40)).await;
    let part = done(attempt.serve(&plan).await);
    assert_eq!((part.succeeded, part.failed), (35, 5));
    let rows = rows(&plan, &part);
    let reasons = [
        "InvalidPicture",
        "PictureTooLarge",
        "PictureNotFound",
        "InvalidLine",
        "InvalidParameters",
    ];
    for (row, reason) in rows[10..15].iter().zip(reasons) {
        assert_eq!(row.error.as_ref().unwrap().reason, reason);
        assert!(row.result.is_none() && row.model.is_none());
    }
    assert!(rows[10].sha256.is_some());
    assert!(matches!(&rows[15].result, Some(InferResult::Predictions(found)) if found.len() == 3));
}

#[tokio::test]
async fn no_get_begins_with_a_url_that_has_expired() {
    let mut slow = settings();
    slow.shards.fetches = 2;
    let (runner, bucket) = (Runner::start_vit(slow).await, Bucket::start().await);
    let keys = bucket.fill(100, &picture("rgb.png"));
    // Four seconds of GETs, by URLs of one.
    bucket.lock().delay = Duration::from_millis(80);
    let mut plan = Plan::new(&bucket, &keys);
    plan.lifetime = Duration::from_secs(1);
    let mut attempt = Attempt::begin(&runner, &shard(100)).await;
    let part = done(attempt.serve(&plan).await);
    assert_eq!(part.succeeded, 100);
    assert_eq!(bucket.lock().expired, 0);
    assert!(attempt.wanted.iter().any(|&(_, count)| count == 1));
}

#[tokio::test]
async fn a_url_that_the_store_refuses_is_replaced() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    let keys = bucket.fill(3, &picture("rgb.png"));
    let plan = Plan::new(&bucket, &keys);
    let mut attempt = Attempt::begin(&runner, &shard(3)).await;
    // The first window's URLs have expired, although it says that they have not.
    let want = ShardLine::Want { from: 0, count: 3 };
    while attempt.next().await.expect("no items are wanted") != want {}
    let items = plan.items.clone();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let order = fovea_protocol::Order::Items {
        first: 0,
        items,
        lifetime_millis: 60_000,
    };
    attempt.send(order).await;
    let part = done(attempt.serve(&plan).await);
    assert_eq!((part.succeeded, bucket.lock().expired), (3, 3));
}

#[tokio::test]
async fn a_store_that_answers_503_for_a_while_costs_no_row() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    let keys = bucket.fill(50, &picture("rgb.png"));
    bucket.lock().failing = Some((String::new(), 120));
    let plan = Plan::new(&bucket, &keys);
    let mut attempt = Attempt::begin(&runner, &shard(50)).await;
    let part = done(attempt.serve(&plan).await);
    assert_eq!((part.to, part.failed), (50, 0));
    assert_eq!(bucket.lock().failing, Some((String::new(), 0)));
}

#[tokio::test]
async fn a_picture_that_the_store_never_delivers_ends_the_part_before_it() {
    let mut impatient = settings();
    impatient.shards.patience = Duration::from_secs(1);
    let (runner, bucket) = (Runner::start_vit(impatient).await, Bucket::start().await);
    let keys = bucket.fill(50, &picture("rgb.png"));
    bucket.lock().failing = Some((keys[20].clone(), usize::MAX));
    let plan = Plan::new(&bucket, &keys);
    let mut attempt = Attempt::begin(&runner, &shard(50)).await;
    match attempt.serve(&plan).await {
        ShardLine::Done {
            part,
            exists: false,
            stopped: Some(problem),
            ..
        } => {
            assert_eq!((part.to, problem.reason), (20, Reason::FetchFailed));
            assert!(!part.end);
            rows(&plan, &part);
        }
        other => panic!("{other:?}"),
    }
    let mut alone = shard(50);
    alone.from = 20;
    let mut attempt = Attempt::begin(&runner, &alone).await;
    match attempt.serve(&plan).await {
        ShardLine::Problem(problem) => assert_eq!(problem.reason, Reason::FetchFailed),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_shards_and_a_job_run_at_once_within_little_memory() {
    let mut small = settings();
    small.shards.memory_bytes = 3 << 20;
    let (runner, bucket) = (Runner::start_both(small).await, Bucket::start().await);
    let keys = bucket.fill(120, &picture("rgb.png"));
    let plans = ["first", "second"].map(|part| Plan {
        part,
        ..Plan::new(&bucket, &keys)
    });
    let mut requests = [shard(120), shard(120)];
    requests[1].shard = 1;
    requests[1].exclusive = true;
    let [first, second] = &requests;
    let mut first = Attempt::begin(&runner, first).await;
    let mut second = Attempt::begin(&runner, second).await;
    let infer = rgb();
    let (first, second, job) =
        tokio::join!(first.serve(&plans[0]), second.serve(&plans[1]), async {
            Lines::new(runner.post(&infer).await).last().await
        },);
    caption(&job);
    for (plan, line) in plans.iter().zip([first, second]) {
        assert_eq!(done(line.clone()).succeeded, 120);
        rows(plan, &done(line));
    }
}
