//! Slots, epochs and readers, as their callers see them.

use crate::harness::{Lines, Runner, caption, problem, refusal, request, rgb, settings};
use crate::store::Store;
use fovea_protocol::{Line, Reason, Stage};
use reqwest::StatusCode;

/// A running attempt: it downloads from a store that keeps it waiting.
async fn begin(runner: &Runner, infer_request: &fovea_protocol::InferRequest) -> Lines {
    let mut lines = Lines::new(runner.post(infer_request).await);
    let fetching = Line::Progress {
        stage: Stage::Fetching,
    };
    while lines.next().await.unwrap() != fetching {}
    lines
}

#[tokio::test]
async fn a_request_without_a_slot_is_refused_at_once_and_a_slot_is_freed() {
    let (runner, store) = (Runner::start(settings()).await, Store::start().await);
    let first = begin(&runner, &request(store.url("/gated"))).await;
    let second = begin(&runner, &request(store.url("/gated"))).await;
    let response = runner.post(&rgb()).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(refusal(response).await.reason, Reason::Busy);
    store.open_gate();
    store.open_gate();
    caption(&first.last().await);
    caption(&second.last().await);
    runner.app.idle().await;
    caption(&runner.last_line(&rgb()).await);
}

#[tokio::test]
async fn a_disconnected_reader_frees_its_slot() {
    let mut one_slot = settings();
    one_slot.slots = 1;
    let (runner, store) = (Runner::start(one_slot).await, Store::start().await);
    let left = begin(&runner, &request(store.url("/gated"))).await;
    drop(left);
    tokio::time::timeout(crate::harness::PATIENCE, runner.app.idle())
        .await
        .expect("the slot was kept");
    caption(&runner.last_line(&rgb()).await);
}

#[tokio::test]
async fn a_new_leader_ends_its_predecessors_attempts() {
    let (runner, store) = (Runner::start(settings()).await, Store::start().await);
    let old = begin(&runner, &request(store.url("/gated"))).await;
    assert_eq!(runner.put_leader("i", 2).await, StatusCode::NO_CONTENT);
    assert_eq!(problem(old.last().await).reason, Reason::StaleEpoch);

    let reported = runner.refused(&rgb()).await;
    assert_eq!(reported.reason, Reason::StaleEpoch);
    assert_eq!(runner.put_leader("i", 1).await, StatusCode::CONFLICT);
    let mut other = rgb();
    other.installation = "another".to_owned();
    caption(&runner.last_line(&other).await);
}

#[tokio::test]
async fn a_newer_attempt_of_a_job_ends_the_older() {
    let (runner, store) = (Runner::start(settings()).await, Store::start().await);
    let mut infer_request = request(store.url("/gated"));
    let older = begin(&runner, &infer_request).await;
    infer_request.attempt = 2;
    let newer = begin(&runner, &infer_request).await;
    assert_eq!(problem(older.last().await).reason, Reason::StaleEpoch);
    infer_request.attempt = 1;
    let late = runner.refused(&infer_request).await;
    assert_eq!(late.reason, Reason::StaleEpoch);
    // One for the older attempt, in case the store has not noticed its end.
    store.open_gate();
    store.open_gate();
    caption(&newer.last().await);
}
