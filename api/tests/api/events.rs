//! A job's changes as server-sent events.

use super::harness::{PATIENCE, Service, send};
use super::pictures::jpeg;
use anyhow::Context as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// As many streams as the usual limit of 1,024 open files allows.
const STREAMS: usize = 800;

/// A stream of events as a client reads it.
struct Events {
    response: reqwest::Response,
    unread: String,
}

/// Fields of one event, or its comment.
#[derive(Debug, Default)]
struct Event {
    name: String,
    id: String,
    retry: String,
    comment: bool,
    data: Value,
}

impl Events {
    async fn open(api: &Service, id: &str, last: Option<&str>) -> anyhow::Result<Self> {
        let mut request = api.job(id, "/events");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await?;
        anyhow::ensure!(response.status() == 200, "{response:?}");
        anyhow::ensure!(response.headers()["content-type"] == "text/event-stream");
        anyhow::ensure!(response.headers()["cache-control"] == "no-cache");
        let unread = String::new();
        Ok(Self { response, unread })
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let event = Event::of(event)?;
                self.unread = String::from(rest);
                return Ok(Some(event));
            }
            match timeout(PATIENCE, self.response.chunk()).await?? {
                Some(piece) => self.unread.push_str(std::str::from_utf8(&piece)?),
                None => return Ok(None),
            }
        }
    }

    async fn expect(&mut self, phase: &str) -> anyhow::Result<Event> {
        let event = self.next().await?.context("the stream has ended")?;
        anyhow::ensure!(
            event.name == "status" && event.data["phase"] == phase,
            "{event:?}"
        );
        Ok(event)
    }
}

impl Event {
    fn of(text: &str) -> anyhow::Result<Self> {
        let mut event = Self::default();
        for line in text.lines() {
            let (name, value) = line.split_once(':').context("no field")?;
            let value = value.trim_start();
            match name {
                "" => event.comment = true,
                "event" => event.name = value.into(),
                "id" => event.id = value.into(),
                "retry" => event.retry = value.into(),
                "data" => event.data = serde_json::from_str(value)?,
                other => anyhow::bail!("{other}"),
            }
        }
        Ok(event)
    }
}

#[tokio::test]
async fn every_visible_change_is_sent_from_the_current_state_to_the_end() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(60))).await?.id()?;
    let mut events = Events::open(&api, &id, None).await?;
    let first = events.expect("Pending").await?;
    assert_eq!(first.data, api.get(&format!("/v1/jobs/{id}")).await?.body);
    assert_eq!(
        first.id,
        api.jobs
            .get(&id)
            .await?
            .metadata
            .resource_version
            .unwrap_or_default()
    );
    assert_eq!(first.retry, "2000");

    let labelled = Patch::Merge(json!({"metadata": {"labels": {"nobody": "sees"}}}));
    let params = PatchParams::default();
    api.jobs.patch(&id, &params, &labelled).await?;
    api.write_status(&id, json!({"phase": "Running"})).await?;
    events.expect("Running").await?;
    let result = json!({"phase": "Succeeded", "result": {"caption": "a cat"}});
    let written = api.write_status(&id, result).await?;
    let last = events.expect("Succeeded").await?;
    assert_eq!(last.data["result"], json!({"caption": "a cat"}));
    assert_eq!(Some(last.id.clone()), written.metadata.resource_version);
    assert!(events.next().await?.is_none());

    // A browser reconnects by itself with its last event's id, and gets a 204.
    let again = send(api.job(&id, "/events").header("last-event-id", &last.id)).await?;
    assert_eq!(again.status, 204);
    // A client that missed the end gets it.
    let mut late = Events::open(&api, &id, Some(&first.id)).await?;
    late.expect("Succeeded").await?;
    assert!(late.next().await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_client_gets_no_event_twice() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(61))).await?.id()?;
    let last = Events::open(&api, &id, None)
        .await?
        .expect("Pending")
        .await?
        .id;
    let mut events = Events::open(&api, &id, Some(&last)).await?;
    let begin = events.next().await?.context("ended")?;
    assert_eq!((begin.name.as_str(), begin.retry.as_str()), ("", "2000"));
    api.write_status(&id, json!({"phase": "Running"})).await?;
    events.expect("Running").await?;
    Ok(())
}

#[tokio::test]
async fn a_stream_ends_with_an_event_when_its_job_is_deleted() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(62))).await?.id()?;
    let mut events = Events::open(&api, &id, None).await?;
    events.expect("Pending").await?;
    api.jobs.delete(&id, &DeleteParams::default()).await?;
    assert_eq!(events.next().await?.context("ended")?.name, "deleted");
    assert!(events.next().await?.is_none());
    let deleted = send(api.job(&id, "/events")).await?;
    assert_eq!((deleted.status, deleted.problem()), (404, "no-such-job"));
    Ok(())
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_and_ends_after_its_lifetime() -> anyhow::Result<()> {
    let flags = [
        "--event-keep-alive-seconds",
        "1",
        "--event-stream-seconds",
        "3",
    ];
    let api = Service::start(&flags).await?;
    let id = send(api.post(jpeg(63))).await?.id()?;
    let begun = Instant::now();
    let mut events = Events::open(&api, &id, None).await?;
    events.expect("Pending").await?;
    assert!(events.next().await?.context("ended")?.comment);
    while let Some(event) = events.next().await? {
        assert!(event.comment, "{event:?}");
    }
    let life = begun.elapsed();
    assert!(
        life >= Duration::from_secs(3) && life < PATIENCE,
        "{life:?}"
    );
    Ok(())
}

#[tokio::test]
async fn streams_and_waits_do_not_delay_shutdown() -> anyhow::Result<()> {
    let api = Service::start(&["--drain-timeout-ms", "60000"]).await?;
    let id = send(api.post(jpeg(64))).await?.id()?;
    let mut waiting = TcpStream::connect(&api.address).await?;
    let request = format!("GET /v1/jobs/{id} HTTP/1.1\r\nhost: a\r\nprefer: wait=60\r\n\r\n");
    waiting.write_all(request.as_bytes()).await?;
    let mut events = Events::open(&api, &id, None).await?;
    events.expect("Pending").await?;
    // The API has accepted both once it has answered a later request.
    assert_eq!(api.get("/livez").await?.status, 200);
    let begun = Instant::now();
    assert!(api.process.terminate().await?.success());
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert!(events.next().await?.is_none());
    let mut answer = String::new();
    timeout(PATIENCE, waiting.read_to_string(&mut answer)).await??;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"phase\":\"Pending\""),
        "{answer}"
    );
    Ok(())
}

/// Resident memory of a process, in KiB.
fn resident_kib(pid: u32) -> anyhow::Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("no VmRSS")?.parse()?)
}

#[tokio::test]
async fn a_stream_costs_less_than_50_kib_and_all_streams_get_a_change() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(65))).await?.id()?;
    let open = || async {
        let mut stream = TcpStream::connect(&api.address).await?;
        let request = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        until_received(&mut stream, "Pending").await?;
        anyhow::Ok(stream)
    };
    let mut streams = Vec::new();
    for _ in 0..STREAMS / 8 {
        streams.push(open().await?);
    }
    let (few, before) = (streams.len(), resident_kib(api.process.pid())?);
    for _ in few..STREAMS {
        streams.push(open().await?);
    }
    let grown = resident_kib(api.process.pid())?.saturating_sub(before);
    let each = grown / (STREAMS - few);
    println!("{each} KiB a stream");
    assert!(each < 50, "{each} KiB a stream");
    api.write_status(&id, json!({"phase": "Cancelled"})).await?;
    for stream in &mut streams {
        until_received(stream, "Cancelled").await?;
    }
    Ok(())
}

/// Reads until the phase is received.
async fn until_received(stream: &mut TcpStream, phase: &str) -> anyhow::Result<()> {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(&format!("\"phase\":\"{phase}\"")) {
        let count = timeout(PATIENCE, stream.read(&mut piece)).await??;
        anyhow::ensure!(count > 0, "the stream has ended: {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    Ok(())
}
