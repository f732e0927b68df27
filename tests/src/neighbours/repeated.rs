//! Requests that are made again and again: one turn of each kind.

use super::kind::PAGE;
use super::submitted;
use super::tally::Tally;
use super::tenant::Tenant;
use anyhow::{Context as _, Result};
use kube::api::PostParams;
use reqwest::Method;
use std::sync::Arc;
use std::time::Duration;

/// Between two bad jobs.
const REST: Duration = Duration::from_millis(100);

/// Submits a picture, until `most` were accepted. True if the API accepted it.
pub(super) async fn submit(
    tenant: &Tenant,
    tally: &Arc<Tally>,
    (picture, query): (Vec<u8>, &str),
    most: usize,
) -> Result<bool> {
    if tally.toll().accepted >= most {
        std::future::pending::<()>().await;
    }
    let (status, _) = tenant.submit(picture, query).await?;
    Ok(status == 202)
}

/// Creates a bad job with kubectl, and rests: the API server's own time is not what it takes.
pub(super) async fn bad(tenant: &Tenant, picture: &[u8]) -> Result<bool> {
    let job = submitted::bad(picture);
    tenant.jobs.create(&PostParams::default(), &job).await?;
    tokio::time::sleep(REST).await;
    Ok(true)
}

/// Submits a picture and deletes the job. True if the API did both.
pub(super) async fn delete(tenant: &Tenant, picture: Vec<u8>) -> Result<bool> {
    let (status, job) = tenant.submit(picture, "").await?;
    if status != 202 {
        return Ok(false);
    }
    let id = job["id"].as_str().context("an id")?;
    let request = tenant.request(Method::DELETE, &format!("/{id}"));
    Ok(request.send().await?.status() == 204)
}

/// Reads a whole page of jobs. True if the API sent it.
pub(super) async fn list(tenant: &Tenant) -> Result<bool> {
    let page = tenant.request(Method::GET, &format!("?limit={PAGE}"));
    let page = page.send().await?;
    let granted = page.status() == 200;
    page.bytes().await?;
    Ok(granted)
}
