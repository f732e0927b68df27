//! Rule 2 where the api itself is killed: before the picture is put, between the put and the
//! create, and after the create. At most one job comes of a key, however often it is sent.

use super::harness::{Service, Surroundings, own_minio, proxy, send, until};
use super::pictures::jpeg;
use fovea_tests::proxy::Fate;
use tokio::task::JoinHandle;

fn keyed(api: &Service) -> reqwest::RequestBuilder {
    api.post(jpeg(9)).header("idempotency-key", "k")
}

/// Sends the request, to be answered by nobody.
fn sent(api: &Service) -> JoinHandle<bool> {
    let request = keyed(api);
    tokio::spawn(async move { request.send().await.is_ok() })
}

#[tokio::test]
async fn an_api_killed_before_the_put_has_made_no_job() -> anyhow::Result<()> {
    let mut minio = own_minio().await?;
    super::harness::cluster().await?;
    let surroundings = Surroundings {
        s3_endpoint: minio.endpoint().to_owned(),
        s3_keys: (minio.access_key().to_owned(), minio.secret_key().to_owned()),
        ..Surroundings::shared().await?
    };
    let mut api = Service::start_in(surroundings, &[]).await?;
    minio.process().pause()?;
    let unanswered = sent(&api);
    let received = async || {
        let received = api.metric("fovea_api_upload_bytes_total").await?;
        anyhow::ensure!(received >= jpeg(9).len() as u64, "{received} bytes");
        Ok(())
    };
    until("the picture to be received", received).await?;
    api.kill_and_restart().await?;
    minio.process().resume()?;
    assert!(!unanswered.await?, "a killed api answers nothing");
    assert!(api.names().await?.is_empty());
    let id = send(keyed(&api)).await?.id()?;
    assert_eq!(api.names().await?, [id]);
    Ok(())
}

#[tokio::test]
async fn an_api_killed_between_put_and_create_has_made_no_job() -> anyhow::Result<()> {
    let proxy = proxy(&[Fate::HoldRequest], Fate::Pass).await?;
    let mut api = Service::start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let unanswered = sent(&api);
    proxy.holds_one().await?;
    api.kill_and_restart().await?;
    assert!(!unanswered.await?);
    assert!(api.names().await?.is_empty());
    let id = send(keyed(&api)).await?.id()?;
    assert_eq!(api.names().await?, [id]);
    Ok(())
}

#[tokio::test]
async fn an_api_killed_after_the_create_has_made_the_job_that_a_repeated_request_gets()
-> anyhow::Result<()> {
    let proxy = proxy(&[Fate::HoldAnswer], Fate::Pass).await?;
    let mut api = Service::start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let unanswered = sent(&api);
    proxy.holds_one().await?;
    let made = api.names().await?;
    assert_eq!(made.len(), 1);
    api.kill_and_restart().await?;
    assert!(!unanswered.await?);
    let id = send(keyed(&api)).await?.id()?;
    assert_eq!(made, [id]);
    assert_eq!(api.names().await?, made, "one job, and no tombstone");
    assert!(!api.jobs.get(&made[0]).await?.spec.cancel);
    Ok(())
}
