//! Slots, epochs and readers, as their callers see them.

use crate::harness::{Lines, Runner, caption, problem, refusal, request, rgb, settings};
use crate::store::Store;
use fovea_protocol::{Line, Reason, Stage};
use reqwest::StatusCode;
use std::time::Duration;

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
    let refused = runner.announce("i", 1, None).await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    assert_eq!(refusal(refused).await.epoch, Some(2));
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

/// After a restore of the cluster the next leader may have the epoch of the one before the restore.
#[tokio::test]
async fn another_leader_of_the_same_epoch_is_refused_and_may_raise_its_own() {
    let (runner, store) = (Runner::start(settings()).await, Store::start().await);
    let announced = runner.announce("i", 1, Some("before")).await;
    assert_eq!(announced.status(), StatusCode::NO_CONTENT);
    let old = begin(&runner, &request(store.url("/gated"))).await;
    let twin = refusal(runner.announce("i", 1, Some("after")).await).await;
    assert_eq!((twin.reason, twin.epoch), (Reason::StaleEpoch, Some(1)));
    let raised = runner.announce("i", 2, Some("after")).await;
    assert_eq!(raised.status(), StatusCode::NO_CONTENT);
    assert_eq!(problem(old.last().await).reason, Reason::StaleEpoch);
    let again = runner.announce("i", 2, Some("after")).await;
    assert_eq!(again.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_65th_installation_waits_until_another_is_silent_and_has_no_jobs() {
    let runner = Runner::start_empty(settings()).await;
    for number in 0..64 {
        let status = runner.put_leader(&number.to_string(), 5).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{number}");
    }
    let refused = runner.announce("one more", 1, None).await;
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refusal(refused).await.reason, Reason::Busy);

    let mut forgetful = settings();
    forgetful.forget_installation_after = Duration::ZERO;
    let (runner, store) = (Runner::start(forgetful).await, Store::start().await);
    let mut infer_request = request(store.url("/gated"));
    infer_request.installation = "busy".to_owned();
    infer_request.epoch = 5;
    let running = begin(&runner, &infer_request).await;
    for number in 0..100 {
        let status = runner.put_leader(&number.to_string(), 5).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{number}");
    }
    // The first ones are forgotten, the last ones are not.
    assert_eq!(runner.put_leader("0", 1).await, StatusCode::NO_CONTENT);
    for known in ["99", "busy"] {
        assert_eq!(runner.put_leader(known, 4).await, StatusCode::CONFLICT);
    }
    store.open_gate();
    caption(&running.last().await);
}
