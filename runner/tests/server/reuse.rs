//! Questions of single jobs.

use crate::harness::{Runner, inline, refusal, request, rgb, settings};
use crate::support::picture;
use fovea_protocol::{Answered, InferRequest, Line, QUESTIONS_PATH, Question, Reason, Source};
use reqwest::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

async fn ask(runner: &Runner, request: &InferRequest) -> Response {
    let url = format!("http://{}{QUESTIONS_PATH}", runner.address);
    let body = serde_json::to_vec(request).unwrap();
    runner.client.post(url).body(body).send().await.unwrap()
}

async fn question(runner: &Runner, request: &InferRequest) -> String {
    let response = ask(runner, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Question = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    answer.question
}

async fn answered(runner: &Runner, request: &InferRequest) -> Option<Answered> {
    match runner.last_line(request).await {
        Line::Result { answered, .. } => answered,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_result_answers_the_question_that_its_request_asks() {
    let runner = Runner::start(settings()).await;
    let bytes = picture("rgb.png");
    let mut reusing = rgb();
    reusing.reuse = true;
    let asked = question(&runner, &reusing).await;
    let found = answered(&runner, &reusing).await.unwrap();
    assert_eq!(found.question, asked);
    assert!(found.width > 0 && found.height > 0, "{found:?}");
    assert_eq!(answered(&runner, &rgb()).await, None);

    // With its digest the picture is not downloaded.
    let mut by_digest = request(Source::Url("http://127.0.0.1:9/picture".to_owned()));
    by_digest.input.sha256 = Some(hex::encode(Sha256::digest(&bytes)));
    assert_eq!(question(&runner, &by_digest).await, asked);

    let mut written_out = rgb();
    written_out.parameters.num_beams = Some(1);
    assert_eq!(question(&runner, &written_out).await, asked);
    let mut longer = rgb();
    longer.parameters.max_new_tokens = Some(17);
    assert_ne!(question(&runner, &longer).await, asked);
    let other = request(inline(&picture("exif-rotated.jpg")));
    assert_ne!(question(&runner, &other).await, asked);
}

#[tokio::test]
async fn a_request_that_would_be_refused_asks_no_question() {
    let runner = Runner::start(settings()).await;
    let mut unknown = rgb();
    unknown.model = "another".to_owned();
    let problem = refusal(ask(&runner, &unknown).await).await;
    assert_eq!(problem.reason, Reason::UnknownModel);
    assert_eq!(runner.put_leader("i", 7).await, StatusCode::NO_CONTENT);
    let problem = refusal(ask(&runner, &rgb()).await).await;
    assert_eq!(problem.status, 409);
}
