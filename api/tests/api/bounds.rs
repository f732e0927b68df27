//! Bounds on time and memory, and shutdown.

use super::harness::{PATIENCE, Service, send, until};
use super::pictures::{jpeg, png_of_length};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Sends a request's head; the test sends the body.
async fn open(api: &Service, length: usize) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(&api.address).await?;
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

async fn answer(mut stream: TcpStream) -> anyhow::Result<String> {
    let mut text = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut text)).await??;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn a_stalled_body_is_answered_408() -> anyhow::Result<()> {
    let api = Service::start(&["--body-idle-timeout-ms", "200"]).await?;
    let mut stream = open(&api, 1000).await?;
    stream.write_all(&jpeg(30)[..100]).await?;
    let text = answer(stream).await?;
    assert!(
        text.starts_with("HTTP/1.1 408") && text.contains("body-timeout"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_body_that_arrives_too_slowly_is_answered_408() -> anyhow::Result<()> {
    let api = Service::start(&["--body-timeout-ms", "500"]).await?;
    let stream = open(&api, 1_000_000).await?;
    let (mut reader, mut writer) = stream.into_split();
    let drip = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while writer.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    });
    let mut text = vec![0; 512];
    let count = timeout(PATIENCE, reader.read(&mut text)).await??;
    drip.abort();
    let text = String::from_utf8_lossy(&text[..count]);
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_body_below_the_least_rate_is_answered_408_and_frees_its_memory() -> anyhow::Result<()> {
    let rate = ["--min-bytes-per-second", "100000"];
    let window = ["--min-rate-window-ms", "500"];
    let memory = ["--upload-memory-bytes", "5000"];
    let api = Service::start(&[rate, window, memory].concat()).await?;
    let picture = png_of_length(4000);
    let mut slow = open(&api, picture.len()).await?;
    slow.write_all(&picture[..3000]).await?;
    let (mut reader, mut writer) = slow.into_split();
    let drip = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while writer.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    });
    let mut text = vec![0; 1024];
    let count = timeout(PATIENCE, reader.read(&mut text)).await??;
    drip.abort();
    let text = String::from_utf8_lossy(&text[..count]);
    assert!(
        text.starts_with("HTTP/1.1 408") && text.contains("100000 bytes per second"),
        "{text}"
    );
    send(api.post(picture)).await?.id()?;
    let counted = api.metric(r#"fovea_api_too_slow_total{direction="request"}"#);
    assert_eq!(counted.await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_client_that_sends_its_whole_body_before_it_reads_gets_its_413() -> anyhow::Result<()> {
    let api = Service::start(&["--max-upload-bytes", "1000"]).await?;
    let mut stream = open(&api, 8_000_000).await?;
    stream.write_all(&vec![0; 8_000_000]).await?;
    let text = answer(stream).await?;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    Ok(())
}

#[tokio::test]
async fn uploads_beyond_the_memory_budget_are_answered_503_with_retry_after() -> anyhow::Result<()>
{
    let api = Service::start(&["--upload-memory-bytes", "5000"]).await?;
    let picture = png_of_length(4000);
    // An open upload holds memory for what it has sent. If the other one happens to be read first,
    // the slow one is refused, and both are tried again.
    let mut slow = until("the second upload to be refused", || async {
        let mut slow = open(&api, picture.len()).await?;
        slow.write_all(&picture[..3000]).await?;
        let answer = send(api.post(picture.clone())).await?;
        anyhow::ensure!(answer.status == 503, "{answer:?}");
        assert_eq!(answer.problem(), "overloaded");
        assert!(answer.header("retry-after").is_some());
        Ok(slow)
    })
    .await?;
    // A small upload still fits, and the slow one can finish.
    send(api.post(jpeg(31))).await?.id()?;
    slow.write_all(&picture[3000..]).await?;
    let text = answer(slow).await?;
    assert!(text.starts_with("HTTP/1.1 202"), "{text}");
    // All memory is released.
    until("the memory to be free", || async {
        send(api.post(picture.clone())).await?.id()
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn at_shutdown_open_requests_finish_and_half_a_head_causes_no_delay() -> anyhow::Result<()> {
    let api = Service::start(&["--drain-timeout-ms", "4000"]).await?;
    let picture = png_of_length(2000);
    let mut under_way = open(&api, picture.len()).await?;
    under_way.write_all(&picture[..1000]).await?;
    let mut idle = TcpStream::connect(&api.address).await?;
    idle.write_all(b"GET /livez HT").await?;
    // The API has accepted both once it has answered a later request.
    assert_eq!(api.get("/livez").await?.status, 200);

    let finish = async {
        until("the service to stop listening", || async {
            anyhow::ensure!(
                TcpStream::connect(&api.address).await.is_err(),
                "still there"
            );
            Ok(())
        })
        .await?;
        under_way.write_all(&picture[1000..]).await?;
        answer(under_way).await
    };
    let (exit, text) = tokio::join!(api.process.terminate(), finish);
    let text = text?;
    assert!(text.starts_with("HTTP/1.1 202"), "{text}");
    assert!(exit?.success());
    Ok(())
}
