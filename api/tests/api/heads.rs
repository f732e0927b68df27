//! Bounds on a request's head, and CORS.

use super::harness::{PATIENCE, Service, send};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_disconnected() -> anyhow::Result<()> {
    let api = Service::start(&["--header-timeout-ms", "300"]).await?;
    let mut stream = TcpStream::connect(&api.address).await?;
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n")
        .await?;
    let mut text = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut text)).await??;
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 408"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_far_too_large_head_is_refused_before_it_is_complete() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let many = "a: b\r\n".repeat(300);
    let large = format!("a: {}\r\n", "b".repeat(200_000));
    for (headers, end) in [(many, "\r\n"), (large, "")] {
        let mut stream = TcpStream::connect(&api.address).await?;
        let head = format!("GET /livez HTTP/1.1\r\nhost: a\r\n{headers}{end}");
        // The response may come before everything is sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut text = vec![0; 16];
        let count = timeout(PATIENCE, stream.read(&mut text)).await??;
        let text = String::from_utf8_lossy(&text[..count]).into_owned();
        assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn only_configured_origins_get_cors_headers() -> anyhow::Result<()> {
    let page = "https://app.example.org";
    let preflight = |api: &Service, origin: &str| {
        send(
            api.http
                .request(http::Method::OPTIONS, format!("{}/v1/jobs", api.base))
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header(
                    "access-control-request-headers",
                    "authorization,idempotency-key",
                ),
        )
    };
    let shut = Service::start(&[]).await?;
    let answer = preflight(&shut, page).await?;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let api = Service::start(&["--cors-origins", page]).await?;
    let answer = preflight(&api, page).await?;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some(page));
    let headers = answer
        .header("access-control-allow-headers")
        .unwrap_or_default();
    assert!(headers.contains("idempotency-key") && headers.contains("fovea-namespace"));
    let other = preflight(&api, "https://evil.example.org").await?;
    assert_eq!(other.header("access-control-allow-origin"), None);
    // The page may also read error responses.
    let read = api
        .http
        .get(format!("{}/v1/jobs/a", api.base))
        .header("origin", page);
    let read = send(read).await?;
    assert_eq!(
        (read.status, read.header("access-control-allow-origin")),
        (404, Some(page))
    );
    Ok(())
}
