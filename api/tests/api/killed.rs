//! Rule 2 if the API is killed before it puts the picture, between the put and the create, or after
//! the create. A key yields at most one job, however often it is sent.

use super::harness::{Service, Surroundings, own_minio, proxy, send, until};
use super::lost_answers::keyed;
use super::pictures::jpeg;
use fovea_tests::proxy::Fate;
use tokio::task::JoinHandle;

/// Sends the request, which should get no response.
fn sent(api: &Service) -> JoinHandle<bool> {
    let request = keyed(api);
    tokio::spawn(async move { request.send().await.is_ok() })
}

#[tokio::test]
async fn an_api_killed_before_the_put_has_created_no_job() -> anyhow::Result<()> {
    let mut minio = own_minio().await?;
    let mut api = Service::start_in(Surroundings::with(&minio).await?, &[]).await?;
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
async fn an_api_killed_between_put_and_create_has_created_no_job() -> anyhow::Result<()> {
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
async fn after_a_kill_that_follows_the_create_a_repeated_request_gets_the_job() -> anyhow::Result<()>
{
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
