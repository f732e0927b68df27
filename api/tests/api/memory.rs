//! The memory of the process while requests hold as much as the default bounds let them.

use super::harness::{PATIENCE, Service, put, send};
use super::pictures::{jpeg, png_of_length};
use anyhow::Context as _;
use fovea_crds::{InferenceJob, InferenceJobSpec, Input, Task};
use futures::future::{join_all, try_join_all};
use k8s_openapi::ByteString;
use kube::api::PostParams;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const MIB: usize = 1024 * 1024;
/// The plain manifest, whose memory limit is that of the chart's default values.
const DEPLOYMENT: &str = include_str!("../../../manifests/install/api/deployment.yaml");
/// What the chart adds to the limit for each connection and each wait; see `fovea.api.memoryLimit`.
const CONNECTIONS_MIB: usize = 16_384 * 16 / 1024;
const WAITS_MIB: usize = 10_000 * 16 / 1024;
const DOWNLOADS: usize = 256;
const UPLOADS: usize = 25;
const PICTURE_BYTES: usize = 10 * MIB;
/// Connections without a request, and streams of events.
const CLIENTS: usize = 200;
const LISTED: usize = 100;

/// The memory limit of the default values without what is for connections and waits, of which the test has few.
fn bound_mib() -> anyhow::Result<usize> {
    let (_, limits) = DEPLOYMENT.split_once("limits:").context("no limits")?;
    let (_, memory) = limits.split_once("memory: ").context("no memory")?;
    let (mib, _) = memory.split_once("Mi").context("not in MiB")?;
    Ok(mib.parse::<usize>()? - CONNECTIONS_MIB - WAITS_MIB)
}

/// A line of the process's status in kilobytes, such as its greatest resident memory.
fn memory_kib(api: &Service, name: &str) -> anyhow::Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", api.process.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("no such line")?.parse()?)
}

/// Sends a request's head over a connection that takes little before it is read.
async fn open(api: &Service, head: &str) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(api.address.parse()?).await?;
    let head = format!("{head} HTTP/1.1\r\nhost: a\r\n");
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

/// Sends a GET, and reads the begin of an answer that must be a 200.
async fn begin(api: &Service, path: &str) -> anyhow::Result<TcpStream> {
    let mut stream = open(api, &format!("GET {path}")).await?;
    stream.write_all(b"\r\n").await?;
    let mut begin = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut begin)).await??;
    let begin = String::from_utf8_lossy(&begin);
    anyhow::ensure!(begin == "HTTP/1.1 200", "{begin}");
    Ok(stream)
}

/// An upload without its last byte.
async fn upload(api: &Service, picture: &[u8]) -> anyhow::Result<TcpStream> {
    let mut stream = open(api, "POST /v1/jobs").await?;
    let length = picture.len();
    let headers = format!("content-type: image/png\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(headers.as_bytes()).await?;
    stream.write_all(&picture[..length - 1]).await?;
    Ok(stream)
}

/// Jobs of which a page is as large as inline pictures make it.
async fn create_jobs(api: &Service) -> anyhow::Result<()> {
    let data = ByteString(png_of_length(60 * 1024));
    let create = |number: usize| {
        let spec = InferenceJobSpec::new(Task::ImageToText, Input::Inline { data: data.clone() });
        let job = InferenceJob::new(&format!("job-{number}"), spec);
        async move { api.jobs.create(&PostParams::default(), &job).await }
    };
    for group in 0..LISTED / 10 {
        try_join_all((0..10).map(|each| create(group * 10 + each))).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_the_default_bounds_let_requests_hold_at_once_fits_the_memory_limit()
-> anyhow::Result<()> {
    let api = Service::start(&[
        "--body-idle-timeout-ms",
        "60000",
        "--min-bytes-per-second",
        "0",
    ])
    .await?;
    let key = format!("data/{}/large.png", api.namespace.name());
    let picture = png_of_length(PICTURE_BYTES);
    put(&key, picture.clone()).await?;
    let large = send(api.post_json(&json!({"key": "large.png"})))
        .await?
        .id()?;
    create_jobs(&api).await?;
    let small = send(api.post(jpeg(160))).await?.id()?;
    let before = memory_kib(&api, "VmRSS:")?;

    let idle = (0..CLIENTS).map(|_| begin(&api, "/livez"));
    let _idle = try_join_all(idle).await?;
    let connections = memory_kib(&api, "VmRSS:")?;
    let path = format!("/v1/jobs/{small}/events");
    let _streams = try_join_all((0..CLIENTS).map(|_| begin(&api, &path))).await?;
    let streams = memory_kib(&api, "VmRSS:")?;
    let path = format!("/v1/jobs/{large}/input");
    let _downloads = try_join_all((0..DOWNLOADS).map(|_| begin(&api, &path))).await?;
    let downloads = memory_kib(&api, "VmRSS:")?;
    let uploads = join_all((0..UPLOADS).map(|_| upload(&api, &picture))).await;
    let begun = memory_kib(&api, "VmRSS:")?;
    let url = format!("{}/v1/jobs?limit=500", api.base);
    let lists = join_all((0..8).map(|_| send(api.http.get(&url)))).await;
    let greatest = memory_kib(&api, "VmHWM:")? / 1024;
    println!(
        "MiB: {} before, {} KiB a connection, {} KiB a stream, {} KiB a download, {} uploads, {greatest} at most",
        before / 1024,
        (connections - before) / CLIENTS,
        (streams - connections) / CLIENTS,
        (downloads - streams) / DOWNLOADS,
        (begun - downloads) / 1024,
    );

    let bound = bound_mib()?;
    assert!(greatest < bound, "{greatest} MiB, {bound} MiB");
    assert!(uploads.iter().all(Result::is_ok), "{uploads:?}");
    for list in lists {
        // With the budget used up it waits for memory, until one of its deadlines.
        let list = list?;
        let problem = list.problem();
        let refused = ["overloaded", "cluster-unavailable"].contains(&problem);
        assert!(list.status == 200 || refused, "{} {problem}", list.status);
    }
    Ok(())
}
