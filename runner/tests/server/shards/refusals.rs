//! Requests for shards that are refused before any work begins, and lines that are none.

use super::bucket::Bucket;
use super::operator::{Attempt, Plan, done, post, shard};
use crate::harness::{Runner, refusal, settings};
use crate::support::picture;
use crate::tls::{sign, trusting};
use fovea_protocol::{Order, Reason, RunnerState, ShardLine, ShardRequest, Task};
use fovea_runner::engine::MaxBatchSize;
use fovea_runner::server::Tls;
use std::sync::Arc;

#[tokio::test]
async fn what_a_runner_cannot_do_is_refused_while_the_request_is_open() {
    let runner = Runner::start_vit(settings()).await;
    let base = format!("http://{}", runner.address);
    let change = |change: fn(&mut ShardRequest)| {
        let mut request = shard(3);
        change(&mut request);
        serde_json::to_string(&Order::Shard(request)).unwrap() + "\n"
    };
    let cases = [
        (
            change(|request| request.model = "other".into()),
            Reason::UnknownModel,
        ),
        (
            change(|request| request.task = Task::ObjectDetection),
            Reason::InvalidParameters,
        ),
        (
            change(|request| request.parameters.num_beams = Some(2)),
            Reason::InvalidParameters,
        ),
        (change(|request| request.from = 4), Reason::MalformedRequest),
        (
            change(|request| request.to = None),
            Reason::MalformedRequest,
        ),
        (
            "{\"order\":\"finish\"}\n".to_owned(),
            Reason::MalformedRequest,
        ),
        ("no order\n".to_owned(), Reason::MalformedRequest),
        ("x".repeat(2 << 20), Reason::MalformedRequest),
    ];
    for (first, reason) in cases {
        let shown: String = first.chars().take(200).collect();
        let (response, _open) = post(&runner.client, &base, first).await;
        assert_eq!(refusal(response).await.reason, reason, "{shown}");
    }
    runner.app.drain();
    let (response, _open) = post(&runner.client, &base, change(|_| {})).await;
    assert_eq!(refusal(response).await.reason, Reason::NotReady);
}

#[tokio::test]
async fn a_runner_says_how_many_shards_it_takes_and_refuses_the_next() {
    let runner = Runner::start_vit(settings()).await;
    let _open = [
        Attempt::begin(&runner, &shard(3)).await,
        Attempt::begin(&runner, &shard(3)).await,
    ];
    let state = runner.get("/v1/models").await.bytes().await.unwrap();
    let state: RunnerState = serde_json::from_slice(&state).unwrap();
    assert_eq!(
        (state.shard_slots, state.shards_busy, state.busy),
        (2, 2, 0)
    );
    let first = serde_json::to_string(&Order::Shard(shard(3))).unwrap() + "\n";
    let base = format!("http://{}", runner.address);
    let (response, _open) = post(&runner.client, &base, first).await;
    assert_eq!(refusal(response).await.reason, Reason::Busy);
}

#[tokio::test]
async fn orders_that_answer_nothing_end_the_attempt() {
    let runner = Runner::start_vit(settings()).await;
    let bucket = Bucket::start().await;
    let items = |first| Order::Items {
        first,
        items: Vec::new(),
        lifetime_millis: 1,
    };
    let part = Order::Part {
        formatted: None,
        rows: bucket.upload("x"),
        answers: None,
    };
    let answers = Order::Answers {
        answers: Vec::new(),
    };
    for order in [items(9), part, answers, Order::Shard(shard(3))] {
        let mut attempt = Attempt::begin(&runner, &shard(3)).await;
        attempt.send(order).await;
        loop {
            match attempt.next().await.expect("no last line") {
                ShardLine::Problem(problem) => {
                    assert_eq!(problem.reason, Reason::MalformedRequest);
                    break;
                }
                ShardLine::Heartbeat(_) | ShardLine::Want { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        runner.app.idle().await;
    }
}

#[tokio::test]
async fn a_shard_runs_over_https_with_lines_both_ways_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, cert, key) = sign(dir.path());
    let tls = Arc::new(Tls::open(&cert, &key).unwrap());
    let eight = MaxBatchSize::Fixed(crate::harness::EIGHT);
    let planned = vec![crate::harness::demo("vit")];
    let runner = Runner::start_planned(settings(), eight, Some(tls), planned).await;
    let (client, base) = (trusting(&authority), format!("https://{}", runner.address));
    let ready = format!("{base}/readyz");
    crate::harness::until(async || client.get(&ready).send().await.unwrap().status() == 200).await;
    let bucket = Bucket::start().await;
    let keys = bucket.fill(150, &picture("rgb.png"));
    let plan = Plan::new(&bucket, &keys);
    let mut attempt = Attempt::begin_at(&client, &base, &shard(150)).await;
    assert_eq!(done(attempt.serve(&plan).await).succeeded, 150);
}
