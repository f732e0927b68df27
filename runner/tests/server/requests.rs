//! Answered requests, and requests that are refused before any work begins.

use crate::harness::{Lines, Runner, caption, inline, refusal, request, rgb, settings};
use crate::store::Store;
use crate::support::{expected, picture};
use fovea_protocol::{InferRequest, Line, MAX_REQUEST_BYTES, Reason, RunnerState, Stage, Task};
use fovea_runner::server::Tokens;
use reqwest::StatusCode;
use sha2::{Digest, Sha256};
use std::sync::Arc;

fn golden_caption(file: &str) -> String {
    let pictures = expected().pictures;
    let golden = pictures.into_iter().find(|golden| golden.file == file);
    golden.unwrap().greedy.caption
}

#[tokio::test]
async fn a_picture_by_url_or_inline_gets_transformers_caption() {
    let (runner, store) = (Runner::start(settings()).await, Store::start().await);
    let bytes = picture("rgb.png");
    let mut by_url = request(store.url("/picture"));
    by_url.input.sha256 = Some(hex::encode(Sha256::digest(&bytes)));

    let mut lines = Lines::new(runner.post(&by_url).await);
    let mut stages = Vec::new();
    let end = loop {
        match lines.next().await.unwrap() {
            Line::Heartbeat => {}
            Line::Progress { stage } => stages.push(stage),
            end => break end,
        }
    };
    assert_eq!(stages, [Stage::Fetching, Stage::Queued, Stage::Running]);
    assert!(lines.next().await.is_none());
    assert_eq!(caption(&end), golden_caption("rgb.png"));
    let Line::Result { model, timings, .. } = end else {
        unreachable!()
    };
    assert_eq!(timings.batch_size, 1);
    let cost = timings.cost_micros.unwrap() / 1000;
    assert!(cost <= timings.infer_millis, "{timings:?}");
    assert!(timings.cost_micros > Some(0));
    let state: RunnerState =
        serde_json::from_slice(&runner.get("/v1/models").await.bytes().await.unwrap()).unwrap();
    assert_eq!(state.models[0].revision, model.revision);
    assert!(state.models[0].ready && model.revision.starts_with("sha256:"));

    let jpeg = request(inline(&picture("exif-rotated.jpg")));
    let end = runner.last_line(&jpeg).await;
    assert_eq!(caption(&end), golden_caption("exif-rotated.jpg"));
}

#[tokio::test]
async fn the_prompt_begins_the_caption() {
    let runner = Runner::start(settings()).await;
    let mut infer_request = rgb();
    infer_request.parameters.prompt = Some(expected().prompt);
    let end = runner.last_line(&infer_request).await;
    assert!(caption(&end).starts_with(&expected().prompt), "{end:?}");
}

#[tokio::test]
async fn a_request_with_an_invalid_body_is_malformed() {
    let runner = Runner::start(settings()).await;
    let good = serde_json::to_value(request(inline(b"x"))).unwrap();
    let mut unknown_task = good.clone();
    unknown_task["task"] = "mind-reading".into();
    let mut no_source = good.clone();
    no_source["input"] = serde_json::json!({});
    for body in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        unknown_task.to_string(),
        no_source.to_string(),
        "x".repeat(MAX_REQUEST_BYTES + 1),
    ] {
        let reported = refusal(runner.post_body(body.clone()).await).await;
        assert_eq!(reported.reason, Reason::MalformedRequest, "{body:.80}");
    }
    for url in ["ftp://127.0.0.1/", "file:///etc/passwd", "127.0.0.1", ""] {
        let infer_request = request(fovea_protocol::Source::Url(url.to_owned()));
        let reported = runner.refused(&infer_request).await;
        assert_eq!(reported.reason, Reason::MalformedRequest, "{url}");
    }
    assert_eq!(
        runner.get("/v1/nothing").await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn parameters_that_the_model_does_not_support_are_refused_before_work_begins() {
    let runner = Runner::start(settings()).await;
    let change = |change: fn(&mut InferRequest)| {
        let mut infer_request = rgb();
        change(&mut infer_request);
        infer_request
    };
    let cases = [
        (
            change(|infer_request| infer_request.model = "other".into()),
            Reason::UnknownModel,
            "golden",
        ),
        (
            change(|infer_request| infer_request.task = Task::ObjectDetection),
            Reason::InvalidParameters,
            "another task",
        ),
        (
            change(|infer_request| infer_request.parameters.max_new_tokens = Some(1_000_000)),
            Reason::InvalidParameters,
            "maxNewTokens",
        ),
        (
            change(|infer_request| infer_request.parameters.max_new_tokens = Some(0)),
            Reason::InvalidParameters,
            "at least 1",
        ),
        (
            change(|infer_request| infer_request.parameters.prompt = Some("word ".repeat(1000))),
            Reason::InvalidParameters,
            "shorten the prompt",
        ),
        (
            change(|infer_request| infer_request.parameters.top_k = Some(5)),
            Reason::InvalidParameters,
            "topK",
        ),
    ];
    for (infer_request, reason, word) in cases {
        let reported = runner.refused(&infer_request).await;
        assert_eq!(reported.reason, reason);
        assert!(reported.detail.contains(word), "{}", reported.detail);
    }
}

#[tokio::test]
async fn only_the_right_token_is_accepted_and_health_needs_none() {
    let mut with_token = settings();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "right\n").unwrap();
    with_token.tokens = Some(Arc::new(Tokens::open(&path).unwrap()));
    let runner = Runner::start(with_token).await;
    let url = format!("http://{}/v1/models", runner.address);
    for wrong in [
        None,
        Some("Bearer wrong"),
        Some("Bearer "),
        Some("Basic right"),
        Some("right"),
    ] {
        let mut get = runner.client.get(&url);
        if let Some(wrong) = wrong {
            get = get.header("authorization", wrong);
        }
        let response = get.send().await.unwrap();
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(
            refusal(response).await.reason,
            Reason::Unauthorized,
            "{wrong:?}"
        );
    }
    let infer_request = rgb();
    let reported = runner.refused(&infer_request).await;
    assert_eq!(reported.reason, Reason::Unauthorized);
    let reported = runner.put_leader("i", 9).await;
    assert_eq!(reported, StatusCode::UNAUTHORIZED);

    let opened = runner.client.get(&url).bearer_auth("right").send().await;
    assert_eq!(opened.unwrap().status(), StatusCode::OK);
    assert_eq!(runner.get("/livez").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_deadline_that_has_passed_ends_the_attempt() {
    let runner = Runner::start(settings()).await;
    let mut infer_request = rgb();
    infer_request.deadline_millis = 0;
    let reported = runner.problem(&infer_request).await;
    assert_eq!(reported.reason, Reason::DeadlineExceeded);
}
