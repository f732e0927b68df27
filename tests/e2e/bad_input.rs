//! Bad pictures and wrong words: each an answer, none a hang.

use crate::support::{
    create, ended, has_condition, http, inline, sample, stack, status_where, unique, visitor,
};
use anyhow::Result;
use fovea_crds::{Input, Phase, PoolRef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

#[tokio::test]
async fn a_truncated_jpeg_is_a_failed_job_with_a_reason_and_no_retry() -> Result<()> {
    let (picture, _) = sample();
    let half = &picture[..picture.len() / 2];
    let job = visitor().await.submitted_and_ended(half, &[]).await?;
    assert_eq!(job["phase"], "Failed", "{job}");
    assert_eq!(job["failure"]["reason"], "InvalidPicture", "{job}");
    assert_eq!(job["failure"]["retryable"], false, "{job}");
    assert_eq!(job["attempts"], 1, "{job}");
    Ok(())
}

#[tokio::test]
async fn inline_bytes_that_are_no_picture_are_a_failed_job() -> Result<()> {
    let name = unique("noise");
    create(&inline(&name, b"this is no picture")).await?;
    let status = ended(&name).await?;
    assert_eq!(status.phase, Phase::Failed);
    let failure = status.failure.unwrap();
    let why = (failure.reason.as_str(), failure.retryable);
    assert_eq!(why, ("InvalidPicture", false));
    Ok(())
}

#[tokio::test]
async fn an_object_that_is_not_there_is_a_failed_job() -> Result<()> {
    let name = unique("missing");
    let mut job = inline(&name, b"");
    let key = "no/such/picture.jpg".into();
    job.spec.input = Input::Object { key };
    create(&job).await?;
    let failure = ended(&name).await?.failure.unwrap();
    assert_eq!(failure.reason, "PictureNotFound");
    Ok(())
}

#[tokio::test]
async fn a_model_that_the_pool_does_not_serve_is_a_failed_job_that_lists_those_it_does()
-> Result<()> {
    let name = unique("model");
    let mut job = inline(&name, &sample().0);
    job.spec.model = Some("no-such-model".into());
    create(&job).await?;
    let failure = ended(&name).await?.failure.unwrap();
    assert_eq!(failure.reason, "UnknownModel");
    assert!(failure.message.contains("blip-demo"), "{}", failure.message);
    Ok(())
}

#[tokio::test]
async fn a_job_for_a_pool_that_is_not_there_waits_and_says_so() -> Result<()> {
    let name = unique("pool");
    let mut job = inline(&name, &sample().0);
    job.spec.pool_ref = Some(PoolRef {
        name: "no-such-pool".into(),
        namespace: None,
    });
    create(&job).await?;
    let refused = |status: &_| has_condition(status, "Accepted", "False");
    let held = status_where(&name, "to be refused", refused).await?;
    assert_eq!(held.phase, Phase::Pending);
    let Condition {
        reason, message, ..
    } = &held.conditions[0];
    assert_eq!(reason, "PoolNotFound");
    assert!(message.contains("fovea-system/default"), "{message}");
    Ok(())
}

#[tokio::test]
async fn what_the_api_can_see_is_refused_at_once() -> Result<()> {
    let url = format!("{}/v1/jobs", stack().await.api_url());
    let (picture, _) = sample();
    let mut too_large = picture.clone();
    too_large.resize(10 * 1024 * 1024 + 1, 0);
    let post = |query: &str, body: Vec<u8>| {
        http()
            .post(format!("{url}{query}"))
            .header("content-type", "image/jpeg")
            .body(body)
            .send()
    };
    let cases = [
        (
            "no picture",
            post("", b"no picture at all".to_vec()).await?,
            vec![415, 422],
        ),
        ("an empty body", post("", Vec::new()).await?, vec![400, 422]),
        ("one byte too many", post("", too_large).await?, vec![413]),
        (
            "an unknown task",
            post("?task=image-to-poem", picture.clone()).await?,
            vec![400, 422],
        ),
        (
            "an unknown id",
            http().get(format!("{url}/no-such-job")).send().await?,
            vec![404],
        ),
    ];
    for (what, answer, statuses) in cases {
        let status = answer.status().as_u16();
        assert!(statuses.contains(&status), "{what}: {status}");
        let type_ = answer.headers()["content-type"].to_str()?.to_owned();
        assert_eq!(type_, "application/problem+json", "{what}");
        let problem: serde_json::Value = answer.json().await?;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(!detail.is_empty(), "{what}: {problem}");
    }
    Ok(())
}
