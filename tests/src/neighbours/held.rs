//! Requests that are held open, each on a connection of its own: one turn of each kind.

use super::tally::Tally;
use super::tenant::Tenant;
use super::wire;
use anyhow::Result;
use reqwest::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::WriteHalf;
use tokio::time::{sleep, timeout};

/// Between two pieces of a slow upload or download; the API's time-outs of silence are far longer.
const TRICKLE: Duration = Duration::from_millis(500);
/// The last bytes of an upload, which go one by one.
const TRICKLED_BYTES: usize = 1000;
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes that a slow download reads at a time.
const SIP_BYTES: usize = 512;
/// A wait that is answered before this was not granted.
const ANSWERED_AT_ONCE: Duration = Duration::from_millis(700);

/// Uploads `bytes`, all but the last at once. True if the API took them.
pub(super) async fn upload(tenant: &Tenant, tally: &Arc<Tally>, bytes: usize) -> Result<bool> {
    let mut stream = wire::connect(tenant.address).await?;
    let (mut reader, mut writer) = stream.split();
    let headers =
        format!("content-type: image/jpeg\r\ncontent-length: {bytes}\r\nexpect: 100-continue\r\n");
    let head = tenant.head(&Method::POST, "", &headers);
    writer.write_all(head.as_bytes()).await?;
    if wire::status(&mut reader).await? != 100 {
        return Ok(false);
    }
    tokio::select! {
        answered = wire::status(&mut reader) => Ok(answered? < 400),
        broken = stop_before_the_end(&mut writer, tally, bytes) => broken,
    }
}

/// Sends the body of an upload; ends only where the connection breaks.
async fn stop_before_the_end(
    writer: &mut WriteHalf<'_>,
    tally: &Arc<Tally>,
    bytes: usize,
) -> Result<bool> {
    let piece = vec![0; PIECE_BYTES];
    let mut left = bytes.saturating_sub(TRICKLED_BYTES);
    while left > 0 {
        let length = left.min(PIECE_BYTES);
        writer.write_all(&piece[..length]).await?;
        left -= length;
    }
    let _held = tally.hold();
    loop {
        sleep(TRICKLE).await;
        writer.write_all(&[0]).await?;
    }
}

/// Requests what lies below the tenant's jobs, and hardly reads it. True if the API sent it.
pub(super) async fn read(tenant: &Tenant, tally: &Arc<Tally>, below: &str) -> Result<bool> {
    let mut stream = wire::connect_to_read_slowly(tenant.address).await?;
    let head = tenant.head(&Method::GET, below, "");
    stream.write_all(head.as_bytes()).await?;
    if wire::status(&mut stream).await? != 200 {
        return Ok(false);
    }
    let _held = tally.hold();
    let mut sip = [0; SIP_BYTES];
    while stream.read(&mut sip).await? > 0 {
        sleep(TRICKLE).await;
    }
    Ok(true)
}

/// Follows a job. True if the API streams its events.
pub(super) async fn follow(tenant: &Tenant, tally: &Arc<Tally>, id: &str) -> Result<bool> {
    let mut stream = wire::connect(tenant.address).await?;
    let head = tenant.head(&Method::GET, &format!("/{id}/events"), "");
    stream.write_all(head.as_bytes()).await?;
    if wire::status(&mut stream).await? != 200 {
        return Ok(false);
    }
    let _held = tally.hold();
    let mut events = [0; SIP_BYTES];
    while stream.read(&mut events).await? > 0 {}
    Ok(true)
}

/// Waits for a job's end. True if the API had it wait.
pub(super) async fn wait(tenant: &Tenant, tally: &Arc<Tally>, id: &str) -> Result<bool> {
    let mut stream = wire::connect(tenant.address).await?;
    let head = tenant.head(&Method::GET, &format!("/{id}"), "prefer: wait=60\r\n");
    stream.write_all(head.as_bytes()).await?;
    if timeout(ANSWERED_AT_ONCE, wire::status(&mut stream))
        .await
        .is_ok()
    {
        return Ok(false);
    }
    let _held = tally.hold();
    wire::status(&mut stream).await?;
    Ok(true)
}
