//! One tenant takes all that it can get of a pool of the API, and another tenant's request succeeds.

use super::auth::{account, start, start_in};
use super::harness::{Answer, Service, Surroundings, cluster, is_stored, minio, put, send, until};
use super::pictures::{jpeg, png_of_length};
use fovea_crds::{InferenceJob, InferenceJobSpec, Input, Task};
use fovea_harness::TempNamespace;
use fovea_tests::crowd;
use fovea_tests::proxy::{Fate, Proxy, Rule};
use fovea_tests::s3_proxy::{S3Proxy, Verdict};
use http::Method;
use reqwest::RequestBuilder;
use serde_json::json;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

const ALL: &[&str] = &["create", "get", "list", "delete"];

/// An API with two tenants, each in its own namespace.
struct Neighbours {
    api: Service,
    _second: TempNamespace,
    hostile: String,
    quiet: String,
    /// The quiet tenant's namespace.
    quiet_namespace: String,
}

impl Neighbours {
    async fn of(api: Service) -> anyhow::Result<Self> {
        let second = TempNamespace::create(&cluster().await?.config().await?).await?;
        let (first, other) = (api.namespace.name(), second.name().to_owned());
        Ok(Self {
            hostile: account(&api.cluster, first, "hostile", ALL).await?,
            quiet: account(&api.cluster, &other, "quiet", ALL).await?,
            quiet_namespace: other,
            _second: second,
            api,
        })
    }

    fn hostile(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(&self.hostile)
    }

    fn quiet(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.header("fovea-namespace", &self.quiet_namespace);
        request.bearer_auth(&self.quiet)
    }

    /// Sends all but the end of a picture, as the hostile tenant.
    async fn begin_upload(&self, picture: &[u8]) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.api.address).await?;
        let head = format!(
            "POST /v1/jobs HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: image/png\r\ncontent-length: {}\r\n\r\n",
            self.hostile,
            picture.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&picture[..picture.len() - 10_000]).await?;
        Ok(stream)
    }

    /// Requests a page of jobs as the hostile tenant, and reads nothing.
    async fn begin_list(&self) -> anyhow::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        let mut stream = socket.connect(self.api.address.parse()?).await?;
        let head = format!(
            "GET /v1/jobs?limit=500 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n",
            self.hostile
        );
        stream.write_all(head.as_bytes()).await?;
        Ok(stream)
    }

    async fn refusals(&self, pool: &str) -> anyhow::Result<u64> {
        let line = format!(r#"fovea_api_refusals_total{{pool="{pool}",reason="share"}}"#);
        self.api.metric(&line).await
    }
}

fn assert_has_its_share(answer: &Answer) {
    // Without the body, which may be a large picture.
    assert_eq!((answer.status, answer.problem()), (429, "too-many-at-once"));
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn slow_uploads_of_one_tenant_leave_room_for_another_s() -> anyhow::Result<()> {
    let both = Neighbours::of(start(&["--upload-memory-bytes", "400000"]).await?).await?;
    let picture = png_of_length(50_000);
    let slow = RefCell::new(Vec::new());
    let refused = until("the tenant to have its share", || async {
        let stream = both.begin_upload(&picture).await?;
        slow.borrow_mut().push(stream);
        let answer = send(both.hostile(both.api.post(picture.clone()))).await?;
        anyhow::ensure!(answer.status != 202, "not yet");
        Ok(answer)
    });
    assert_has_its_share(&refused.await?);
    assert!(both.refusals("uploads").await? > 0);
    send(both.quiet(both.api.post(picture))).await?.id()?;
    Ok(())
}

#[tokio::test]
async fn lists_that_one_tenant_does_not_read_leave_memory_for_another_s() -> anyhow::Result<()> {
    let both = Neighbours::of(start(&["--memory-bytes", "40000000"]).await?).await?;
    let job = |number: usize| {
        let input = Input::Object { key: "a".into() };
        let spec = InferenceJobSpec::new(Task::ImageToText, input);
        InferenceJob::new(&format!("long-{number}"), spec)
    };
    // A page is longer than all buffers in between.
    let caption = crowd::longest_caption();
    crowd::create_captioned(&both.api.jobs, (0..400).map(job), &caption).await?;
    let url = format!("{}/v1/jobs?limit=500", both.api.base);
    let unread = RefCell::new(Vec::new());
    let refused = until("the tenant to have its share", || async {
        let stream = both.begin_list().await?;
        unread.borrow_mut().push(stream);
        let answer = send(both.hostile(both.api.http.get(&url))).await?;
        anyhow::ensure!(answer.status != 200, "not yet");
        Ok(answer)
    });
    assert_has_its_share(&refused.await?);
    assert!(both.refusals("responses").await? > 0);
    let id = send(both.quiet(both.api.post(jpeg(145)))).await?.id()?;
    let list = send(both.quiet(both.api.http.get(&url))).await?;
    assert_eq!(list.body["jobs"][0]["id"], id, "{list:?}");
    Ok(())
}

#[tokio::test]
async fn reads_of_the_store_by_one_tenant_that_hang_leave_connections_for_another()
-> anyhow::Result<()> {
    let proxy = S3Proxy::start(None).await?;
    proxy.target(minio().await?.endpoint());
    let met = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&met);
    proxy.rule(Arc::new(move |parts| {
        let hangs = parts.uri.path().ends_with("/held.png");
        if hangs {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Verdict::Pass
        })
    }));
    cluster().await?;
    let surroundings = Surroundings {
        s3_endpoint: proxy.url.clone(),
        // 32 connections to the store.
        ulimits: vec!["ulimit -n 256"],
        ..Surroundings::shared().await?
    };
    let flags = ["--s3-attempt-timeout-ms", "30000"];
    let both = Neighbours::of(start_in(surroundings, &flags).await?).await?;
    let held = both.api.post_json(&json!({"key": "held.png"}));
    let held = send(both.hostile(held)).await?.id()?;
    let read = || tokio::spawn(send(both.hostile(both.api.job(&held, "/input"))));
    let reads: Vec<_> = (0..40).map(|_| read()).collect();
    let all = until("the tenant to have all that it can get", || async {
        let met = met.load(Ordering::SeqCst);
        anyhow::ensure!(met >= 16, "{met}");
        Ok(())
    });
    all.await?;
    let id = send(both.quiet(both.api.post(jpeg(146)))).await?.id()?;
    let picture = send(both.quiet(both.api.job(&id, "/input"))).await?;
    assert_eq!(picture.status, 200, "{picture:?}");
    assert_eq!(met.load(Ordering::SeqCst), 16);
    reads.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

#[tokio::test]
async fn downloads_of_one_tenant_leave_room_for_another_s() -> anyhow::Result<()> {
    let both = Neighbours::of(start(&["--max-downloads", "4"]).await?).await?;
    // More than all buffers in between hold.
    let key = format!("data/{}/large.png", both.api.namespace.name());
    put(&key, png_of_length(40_000_000)).await?;
    let large = both.api.post_json(&json!({"key": "large.png"}));
    let large = send(both.hostile(large)).await?.id()?;
    let small = send(both.quiet(both.api.post(jpeg(140)))).await?.id()?;
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let download = both.hostile(both.api.job(&large, "/input")).send().await?;
        assert_eq!(download.status(), 200);
        stalled.push(download);
    }
    assert_has_its_share(&send(both.hostile(both.api.job(&large, "/input"))).await?);
    let picture = send(both.quiet(both.api.job(&small, "/input"))).await?;
    assert_eq!(picture.status, 200, "{picture:?}");
    assert_eq!(both.refusals("downloads").await?, 1);
    Ok(())
}

#[tokio::test]
async fn event_streams_of_one_tenant_leave_another_its_wait() -> anyhow::Result<()> {
    let both = Neighbours::of(start(&["--max-waiters", "4"]).await?).await?;
    let followed = send(both.hostile(both.api.post(jpeg(141)))).await?.id()?;
    let waited = send(both.quiet(both.api.post(jpeg(142)))).await?.id()?;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let stream = both.hostile(both.api.job(&followed, "/events")).send();
        streams.push(stream.await?);
    }
    assert_has_its_share(&send(both.hostile(both.api.job(&followed, "/events"))).await?);
    let wait = |request: RequestBuilder| send(request.header("prefer", "wait=1"));
    let at_once = wait(both.hostile(both.api.job(&followed, ""))).await?;
    assert_eq!(at_once.header("preference-applied"), None);
    let honoured = wait(both.quiet(both.api.job(&waited, ""))).await?;
    assert_eq!(honoured.header("preference-applied"), Some("wait=1"));
    Ok(())
}

#[tokio::test]
async fn lists_and_reads_of_one_tenant_that_hang_do_not_delay_another_s() -> anyhow::Result<()> {
    let proxy = Proxy::start(cluster().await?, None).await?;
    let surroundings = Surroundings::behind(&proxy).await?;
    // Longer than the test.
    let flags = ["--kube-timeout-ms", "30000", "--picture-grace-seconds", "0"];
    let both = Neighbours::of(start_in(surroundings, &flags).await?).await?;
    let id = send(both.quiet(both.api.post(jpeg(143)))).await?.id()?;
    let own = send(both.hostile(both.api.post(jpeg(144)))).await?.id()?;
    proxy.rule([
        Rule::every(Method::GET, "limit=77", Fate::HoldRequest),
        Rule::every(Method::GET, "/held-", Fate::HoldRequest),
    ]);
    let url = |path: &str| format!("{}/v1/jobs{path}", both.api.base);
    let hang = |url| tokio::spawn(send(both.hostile(both.api.http.get(url))));
    let held = async |count| {
        until("the tenant to have all that it can get", || async {
            anyhow::ensure!(proxy.met() >= count, "{}", proxy.met());
            Ok(())
        })
        .await
    };
    let mut hanging: Vec<_> = (0..12).map(|_| hang(url("?limit=77"))).collect();
    held(2).await?;
    // A deletion needs no place of a list, and finds out that nothing else refers to its picture.
    let deleted = send(both.hostile(both.api.http.delete(url(&format!("/{own}"))))).await?;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    let pictures = format!("uploads/{}/", both.api.namespace.name());
    assert!(!is_stored(&pictures).await?);
    hanging.extend((0..80).map(|n| hang(url(&format!("/held-{n}")))));
    held(2 + 32).await?;
    let list = send(both.quiet(both.api.http.get(url("")))).await?;
    assert_eq!(list.body["jobs"][0]["id"], id, "{list:?}");
    let read = send(both.quiet(both.api.http.get(url("/no-such")))).await?;
    assert_eq!(read.problem(), "no-such-job");
    let deleted = send(both.quiet(both.api.http.delete(url(&format!("/{id}"))))).await?;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert!(hanging.iter().all(|request| !request.is_finished()));
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}
