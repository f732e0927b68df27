//! Rule 2 if responses are lost: a job whose request got an error never runs.

use super::harness::{Answer, Service, Surroundings, proxy, send};
use super::pictures::jpeg;
use fovea_crds::annotations;
use fovea_tests::proxy::{Fate, Proxy};
use kube::ResourceExt as _;

pub(super) fn keyed(api: &Service) -> reqwest::RequestBuilder {
    api.post(jpeg(9)).header("idempotency-key", "k")
}

async fn start(first: &[Fate], rest: Fate, flags: &[&str]) -> anyhow::Result<(Proxy, Service)> {
    let proxy = proxy(first, rest).await?;
    let api = Service::start_in(Surroundings::behind(&proxy).await?, flags).await?;
    Ok((proxy, api))
}

/// Checks that the namespace's only object is a tombstone, which never runs; returns its name.
async fn assert_only_a_tombstone(api: &Service) -> anyhow::Result<String> {
    let names = api.names().await?;
    assert_eq!(names.len(), 1, "{names:?}");
    let barred = api.jobs.get(&names[0]).await?;
    assert!(barred.spec.cancel);
    assert!(barred.annotations().contains_key(annotations::TOMBSTONE));
    assert_eq!(barred.spec.ttl_seconds_after_finished, Some(86_400));
    Ok(names[0].clone())
}

fn assert_problem(answer: &Answer, status: u16, problem: &str) {
    assert_eq!(
        (answer.status, answer.problem()),
        (status, problem),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_create_that_succeeded_without_a_response_is_a_job() -> anyhow::Result<()> {
    let (_proxy, api) = start(&[Fate::LoseAnswer], Fate::Pass, &[]).await?;
    let id = send(api.post(jpeg(8))).await?.id()?;
    assert_eq!(api.names().await?, std::slice::from_ref(&id));
    let job = api.jobs.get(&id).await?;
    assert!(!job.spec.cancel && !job.annotations().contains_key(annotations::TOMBSTONE));
    Ok(())
}

#[tokio::test]
async fn a_lost_create_is_barred_before_the_client_gets_the_error() -> anyhow::Result<()> {
    let (_proxy, api) = start(&[Fate::LoseRequest], Fate::Pass, &[]).await?;
    assert_problem(&send(api.post(jpeg(8))).await?, 503, "cluster-unavailable");
    assert_only_a_tombstone(&api).await?;
    Ok(())
}

#[tokio::test]
async fn a_tombstone_that_was_created_without_a_response_counts() -> anyhow::Result<()> {
    let (_proxy, api) = start(&[Fate::LoseRequest, Fate::LoseAnswer], Fate::Pass, &[]).await?;
    assert_problem(&send(api.post(jpeg(8))).await?, 503, "cluster-unavailable");
    assert_only_a_tombstone(&api).await?;
    Ok(())
}

#[tokio::test]
async fn a_lost_tombstone_is_created_again() -> anyhow::Result<()> {
    let first = [Fate::LoseAnswer, Fate::LoseRequest, Fate::LoseRequest];
    let (_proxy, api) = start(&first, Fate::Pass, &[]).await?;
    let id = send(api.post(jpeg(8))).await?.id()?;
    assert!(!api.jobs.get(&id).await?.spec.cancel);
    Ok(())
}

#[tokio::test]
async fn a_request_repeated_after_a_tombstone_gets_a_job_and_another_body_is_refused()
-> anyhow::Result<()> {
    let (_proxy, api) = start(&[Fate::LoseRequest], Fate::Pass, &[]).await?;
    assert_problem(&send(keyed(&api)).await?, 503, "cluster-unavailable");
    let barred = assert_only_a_tombstone(&api).await?;
    let other = api.post(jpeg(10)).header("idempotency-key", "k");
    assert_problem(&send(other).await?, 422, "idempotency-key-reused");

    let id = send(keyed(&api)).await?.id()?;
    assert_ne!(id, barred);
    assert_eq!(send(keyed(&api)).await?.id()?, id);
    assert_eq!(api.names().await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn without_a_result_in_time_the_response_is_outcome_unknown_with_a_location()
-> anyhow::Result<()> {
    let (proxy, api) = start(&[], Fate::LoseRequest, &["--settle-timeout-ms", "700"]).await?;
    let answer = send(keyed(&api)).await?;
    assert_problem(&answer, 504, "outcome-unknown");
    let location = answer.header("location").unwrap_or_default().to_owned();
    assert_eq!(api.get(&location).await?.status, 404);

    proxy.rule([]);
    let id = send(keyed(&api)).await?.id()?;
    assert_eq!(location, format!("/v1/jobs/{id}"));
    Ok(())
}

#[tokio::test]
async fn the_location_of_an_unknown_outcome_finds_a_create_that_succeeded() -> anyhow::Result<()> {
    let (_proxy, api) = start(
        &[Fate::LoseAnswer],
        Fate::LoseRequest,
        &["--settle-timeout-ms", "700"],
    )
    .await?;
    let answer = send(keyed(&api)).await?;
    assert_problem(&answer, 504, "outcome-unknown");
    let location = answer.header("location").unwrap_or_default();
    assert_eq!(api.get(location).await?.status, 200);
    Ok(())
}
