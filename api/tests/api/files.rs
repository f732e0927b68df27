//! More clients than the process may have files.

use super::harness::{PATIENCE, Service, Surroundings, cluster, send, until};
use super::pictures::jpeg;
use anyhow::Context as _;
use futures::future::try_join_all;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// More than the limits below allow.
const STREAMS: usize = 300;
/// More than there are connections, and fewer than a system's queue of connections holds.
const IDLE: usize = 100;

async fn start(ulimits: &[&'static str]) -> anyhow::Result<Service> {
    cluster().await?;
    let surroundings = Surroundings {
        ulimits: ulimits.to_vec(),
        ..Surroundings::shared().await?
    };
    Service::start_in(surroundings, &["--metrics-listen", "127.0.0.1:0"]).await
}

/// The address of health and metrics, from the log.
fn admin(api: &Service) -> anyhow::Result<String> {
    let log = std::fs::read_to_string(api.process.log_path())?;
    let mut lines = log.lines();
    let line = lines.find(|line| line.contains("health and metrics are here"));
    let (_, address) = line
        .and_then(|line| line.split_once("address="))
        .context("no address")?;
    Ok(address.split(' ').next().unwrap_or_default().to_owned())
}

/// Connections that each ask for the events of a job.
async fn follow(api: &Service, id: &str, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let streams = (0..count).map(|_| async {
        let mut stream = TcpStream::connect(&api.address).await?;
        let request = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        anyhow::Ok(stream)
    });
    try_join_all(streams).await
}

/// The status of each answer.
async fn statuses(streams: &mut [TcpStream]) -> anyhow::Result<Vec<String>> {
    let heads = streams.iter_mut().map(|stream| async {
        let mut head = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut head)).await??;
        anyhow::Ok(String::from_utf8_lossy(&head[9..]).into_owned())
    });
    try_join_all(heads).await
}

#[tokio::test]
async fn a_low_soft_limit_on_files_is_raised_so_that_every_stream_is_served() -> anyhow::Result<()>
{
    let api = start(&["ulimit -S -n 256"]).await?;
    let id = send(api.post(jpeg(150))).await?.id()?;
    let mut streams = follow(&api, &id, STREAMS).await?;
    let statuses = statuses(&mut streams).await?;
    assert!(
        statuses.iter().all(|status| status == "200"),
        "{statuses:?}"
    );
    assert_eq!(api.get("/livez").await?.status, 200);
    send(api.post(jpeg(151))).await?.id()?;
    Ok(())
}

#[tokio::test]
async fn with_fewer_files_than_clients_health_and_uploads_are_answered() -> anyhow::Result<()> {
    let api = start(&["ulimit -n 256"]).await?;
    let admin = admin(&api)?;
    let id = send(api.post(jpeg(152))).await?.id()?;
    // A part of them is served, and the others are refused: none waits.
    let mut streams = follow(&api, &id, STREAMS).await?;
    let statuses = statuses(&mut streams).await?;
    let served = statuses.iter().filter(|status| *status == "200").count();
    let refused = statuses.iter().filter(|status| *status == "503").count();
    assert!(served >= 32 && served + refused == STREAMS, "{statuses:?}");
    send(api.post(jpeg(153))).await?.id()?;

    // Even while every connection is taken, by clients that send no request.
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(&api.address).await?);
    }
    let taken = until("the connections to be taken", || async {
        let metrics = api.http.get(format!("http://{admin}/metrics"));
        let metrics = metrics.send().await?.text().await?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("fovea_api_connections "));
        let line = line.map(str::to_owned);
        anyhow::ensure!(
            line.as_deref() == Some("fovea_api_connections 64"),
            "{line:?}"
        );
        Ok(())
    });
    taken.await?;
    for path in ["livez", "readyz", "metrics"] {
        let answer = api.http.get(format!("http://{admin}/{path}"));
        let answer = answer.timeout(Duration::from_secs(5)).send().await?;
        assert_eq!(answer.status(), 200, "{path}");
    }
    // They lose their places, and uploads are answered again.
    drop(idle);
    until("an upload", || async {
        send(api.post(jpeg(154))).await?.id()
    })
    .await?;
    Ok(())
}
