//! Bounds on time and memory, and the end of the process.

use super::harness::{PATIENCE, Service, send, until};
use super::pictures::{jpeg, png_of_length};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A request as bytes, with its body in the hands of the test.
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
async fn a_body_that_stops_coming_is_answered_408() -> anyhow::Result<()> {
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
async fn a_body_that_drips_for_ever_is_answered_408() -> anyhow::Result<()> {
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
async fn a_client_that_sends_all_before_it_listens_gets_its_413() -> anyhow::Result<()> {
    let api = Service::start(&["--max-upload-bytes", "1000"]).await?;
    let mut stream = open(&api, 8_000_000).await?;
    stream.write_all(&vec![0; 8_000_000]).await?;
    let text = answer(stream).await?;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    Ok(())
}

#[tokio::test]
async fn uploads_beyond_the_memory_for_them_are_told_to_come_again() -> anyhow::Result<()> {
    let api = Service::start(&["--upload-memory-bytes", "5000"]).await?;
    let picture = png_of_length(4000);
    // One that is under way holds what it has sent. Which of the two is read first is chance: where
    // it is the other one, the slow one is refused, and both are tried again.
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
    // A small one still fits, and the slow one is let finish.
    send(api.post(jpeg(31))).await?.id()?;
    slow.write_all(&picture[3000..]).await?;
    let text = answer(slow).await?;
    assert!(text.starts_with("HTTP/1.1 202"), "{text}");
    // All of it is given back.
    until("the memory to be free", || async {
        send(api.post(picture.clone())).await?.id()
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn half_a_request_head_does_not_hold_up_the_end_and_what_is_under_way_is_finished()
-> anyhow::Result<()> {
    let api = Service::start(&["--drain-timeout-ms", "4000"]).await?;
    let picture = png_of_length(2000);
    let mut under_way = open(&api, picture.len()).await?;
    under_way.write_all(&picture[..1000]).await?;
    let mut idle = TcpStream::connect(&api.address).await?;
    idle.write_all(b"GET /livez HT").await?;
    // Both are in the service's hands once it has answered something later.
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
