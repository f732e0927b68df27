//! The picture and the whole result of a job.

use super::harness::{PATIENCE, Service, Surroundings, cluster, put, send, until};
use super::pictures::{jpeg, png_of_length};
use fovea_crds::{InferenceJob, InferenceJobSpec, Input, Task};
use fovea_tests::proxy::{Fate, Proxy, Rule};
use http::Method;
use k8s_openapi::ByteString;
use kube::ResourceExt as _;
use kube::api::PostParams;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_picture_is_returned_as_an_attachment_of_its_own_type() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let (jpeg, png) = (jpeg(80), png_of_length(300_000));
    let uploaded = send(api.post(jpeg.clone())).await?.id()?;
    let key = format!("data/{}/a.html", api.namespace.name());
    put(&key, png.clone()).await?;
    let named = send(api.post_json(&json!({"key": "a.html"}))).await?.id()?;
    let data = ByteString(jpeg.clone());
    let spec = InferenceJobSpec::new(Task::ImageToText, Input::Inline { data });
    let inline = InferenceJob::new("inline.job", spec);
    api.jobs.create(&PostParams::default(), &inline).await?;

    for (id, bytes, kind, extension) in [
        (uploaded.as_str(), &jpeg, "image/jpeg", "jpg"),
        (&named, &png, "image/png", "png"),
        ("inline.job", &jpeg, "image/jpeg", "jpg"),
    ] {
        let answer = api.job(id, "/input").send().await?;
        assert_eq!(answer.status(), 200, "{id}");
        let headers = answer.headers().clone();
        assert_eq!(headers["content-type"], kind);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(
            headers["content-disposition"],
            format!("attachment; filename=\"{id}.{extension}\"").as_str()
        );
        assert_eq!(headers["content-length"], bytes.len().to_string().as_str());
        assert!(answer.bytes().await? == bytes.as_slice(), "{id}");
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_object_or_one_that_is_no_picture_is_not_returned() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let key = format!("data/{}/page.html", api.namespace.name());
    put(&key, b"<html><script>alert(1)</script>".to_vec()).await?;
    put(&format!("data/{}/empty", api.namespace.name()), Vec::new()).await?;
    for key in ["page.html", "empty", "none"] {
        let id = send(api.post_json(&json!({"key": key}))).await?.id()?;
        let answer = send(api.job(&id, "/input")).await?;
        assert_eq!(
            (answer.status, answer.problem()),
            (404, "no-such-picture"),
            "{key}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_small_result_comes_from_the_status_and_a_large_one_from_the_bucket() -> anyhow::Result<()>
{
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(81))).await?.id()?;
    let early = send(api.job(&id, "/result")).await?;
    assert_eq!((early.status, early.problem()), (409, "no-result"));
    let result = json!({"caption": "a cat"});
    api.write_status(&id, json!({"phase": "Succeeded", "result": result}))
        .await?;
    let waited = send(api.job(&id, "").header("prefer", "wait=20")).await?;
    assert_eq!(waited.body["resultTruncated"], false);
    assert_eq!(send(api.job(&id, "/result")).await?.body, result);

    let id = send(api.post(jpeg(82))).await?.id()?;
    let whole = json!({"caption": "a cat ".repeat(10_000)}).to_string();
    let uid = api.jobs.get(&id).await?.uid().unwrap_or_default();
    let key = format!("results/{}/{uid}.json", api.namespace.name());
    let status = json!({
        "phase": "Succeeded", "result": {"caption": "a c"},
        "resultBytes": whole.len(), "resultSha256": "0".repeat(64),
    });
    api.write_status(&id, status).await?;
    let waited = send(api.job(&id, "").header("prefer", "wait=20")).await?;
    assert_eq!(waited.body["resultTruncated"], true);
    let missing = send(api.job(&id, "/result")).await?;
    assert_eq!((missing.status, missing.problem()), (409, "no-result"));
    put(&key, whole.clone().into_bytes()).await?;
    let answer = api.job(&id, "/result").send().await?;
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.text().await?, whole);
    Ok(())
}

#[tokio::test]
async fn a_result_is_returned_even_if_the_watch_lags() -> anyhow::Result<()> {
    let proxy = Proxy::start(cluster().await?, None).await?;
    let mut api = Service::start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let id = send(api.post(jpeg(87))).await?.id()?;
    // The watch lists the job and receives no change.
    proxy.rule([Rule::every(Method::GET, "watch=true", Fate::HoldAnswer)]);
    api.kill_and_restart().await?;
    until("the job to be listed", async || {
        let ready = api.get("/readyz").await?;
        anyhow::ensure!(ready.status == 200, "{ready:?}");
        Ok(())
    })
    .await?;
    let result = json!({"caption": "a cat"});
    api.write_status(&id, json!({"phase": "Succeeded", "result": result}))
        .await?;
    assert_eq!(send(api.job(&id, "")).await?.body["phase"], "Pending");
    assert_eq!(send(api.job(&id, "/result")).await?.body, result);
    Ok(())
}

#[tokio::test]
async fn clients_that_can_reach_the_store_are_redirected_to_it() -> anyhow::Result<()> {
    let endpoint = Surroundings::shared().await?.s3_endpoint;
    let public = endpoint.replace("127.0.0.1", "localhost");
    let api = Service::start(&["--s3-public-endpoint", &public]).await?;
    let picture = jpeg(83);
    let id = send(api.post(picture.clone())).await?.id()?;
    let policy = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().redirect(policy).no_proxy();
    let http = http.build()?;
    let url = format!("{}/v1/jobs/{id}/input", api.base);
    let answer = http.get(&url).send().await?;
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["cache-control"], "private, no-store");
    let location = answer.headers()["location"].to_str()?;
    assert!(location.starts_with(&public), "{location}");
    let picture_there = http.get(location).send().await?;
    assert_eq!(picture_there.headers()["content-type"], "image/jpeg");
    assert!(picture_there.bytes().await? == picture.as_slice());
    Ok(())
}

#[tokio::test]
async fn downloads_beyond_the_limit_are_answered_503_with_retry_after() -> anyhow::Result<()> {
    let api = Service::start(&["--max-downloads", "0"]).await?;
    let id = send(api.post(jpeg(84))).await?.id()?;
    let answer = send(api.job(&id, "/input")).await?;
    assert_eq!(
        (answer.status, answer.problem()),
        (503, "too-many-downloads")
    );
    assert!(answer.header("retry-after").is_some());
    Ok(())
}

#[tokio::test]
async fn a_client_that_reads_too_slowly_is_cut_off_and_frees_its_place() -> anyhow::Result<()> {
    let rate = ["--min-bytes-per-second", "1000000"];
    let window = ["--min-rate-window-ms", "3000"];
    let downloads = ["--max-downloads", "1"];
    let api = Service::start(&[rate, window, downloads].concat()).await?;
    // More than all buffers in between hold.
    let key = format!("data/{}/large.png", api.namespace.name());
    put(&key, png_of_length(40_000_000)).await?;
    let large = send(api.post_json(&json!({"key": "large.png"})))
        .await?
        .id()?;
    let mut slow = TcpStream::connect(&api.address).await?;
    let request = format!("GET /v1/jobs/{large}/input HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.write_all(request.as_bytes()).await?;
    let reads = tokio::spawn(async move {
        let (mut piece, mut bytes) = (vec![0; 1000], 0);
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            match slow.read(&mut piece).await {
                Ok(0) | Err(_) => return bytes,
                Ok(count) => bytes += count,
            }
            // What was sent before the end is read at once.
            if bytes < 200_000 {
                ticks.tick().await;
            }
        }
    });
    let id = send(api.post(jpeg(86))).await?.id()?;
    let picture = || send(api.job(&id, "/input"));
    until("the place to be taken", || async {
        anyhow::ensure!(picture().await?.status == 503, "not yet");
        Ok(())
    })
    .await?;
    until("the place to be free", || async {
        let answer = picture().await?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
    .await?;
    let bytes = tokio::time::timeout(PATIENCE, reads).await??;
    assert!(bytes < 40_000_000, "all of it came");
    let counted = api.metric(r#"fovea_api_too_slow_total{direction="response"}"#);
    assert_eq!(counted.await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected() -> anyhow::Result<()> {
    let flags = ["--max-downloads", "1", "--download-idle-timeout-ms", "300"];
    let api = Service::start(&flags).await?;
    // More than all buffers in between hold.
    let key = format!("data/{}/large.png", api.namespace.name());
    put(&key, png_of_length(40_000_000)).await?;
    let large = send(api.post_json(&json!({"key": "large.png"})))
        .await?
        .id()?;
    let stalled = api.job(&large, "/input").send().await?;
    assert_eq!(stalled.status(), 200);
    let id = send(api.post(jpeg(85))).await?.id()?;
    until("the place to be free", || async {
        let answer = send(api.job(&id, "/input")).await?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
    .await?;
    // The rest is not sent, and the client can detect that.
    assert!(stalled.bytes().await.is_err());
    Ok(())
}
