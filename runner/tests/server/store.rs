//! A store with faults that a real one cannot produce on demand.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::Redirect;
use axum::routing::get;
use bytes::Bytes;
use fovea_protocol::Source;
use futures::StreamExt as _;
use http::StatusCode;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::support::{checkpoint, picture};

/// The store; it lives as long as the test.
pub(crate) struct Store {
    pub(crate) address: SocketAddr,
    gate: Arc<Semaphore>,
}

impl Store {
    pub(crate) async fn start() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let waiting = Arc::clone(&gate);
        let routes = Router::new()
            .route("/picture", get(|| async { picture("rgb.png") }))
            .route("/empty", get(|| async { "" }))
            .route("/forbidden", get(|| async { StatusCode::FORBIDDEN }))
            .route("/expired", get(|| async { expired() }))
            .route(
                "/redirect",
                get(|| async { Redirect::temporary("/picture") }),
            )
            .route("/large", get(|| async { vec![0; 100_001] }))
            .route(
                "/endless",
                get(|| async {
                    Body::from_stream(futures::stream::repeat_with(
                        || Ok::<_, Infallible>(chunk()),
                    ))
                }),
            )
            .route(
                "/model/{file}",
                get(|Path(file): Path<String>| async {
                    std::fs::read(checkpoint().join(file)).map_err(|_| StatusCode::NOT_FOUND)
                }),
            )
            .route("/stall", get(|| async { stalling() }))
            .route(
                "/gated",
                get(|| async move {
                    waiting.acquire().await.unwrap().forget();
                    picture("rgb.png")
                }),
            );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, gate }
    }

    /// `/gated` keeps its readers waiting; this lets one go.
    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(1);
    }

    pub(crate) fn url(&self, path: &str) -> Source {
        Source::Url(self.presigned(path))
    }

    pub(crate) fn presigned(&self, path: &str) -> String {
        format!("http://{}{path}?X-Amz-Signature=secret", self.address)
    }
}

/// MinIO's answer to a URL whose time is over, with a message that quotes the URL after it.
fn expired() -> (StatusCode, &'static str) {
    let body = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message><Resource>/expired?X-Amz-Signature=secret</Resource></Error>";
    (StatusCode::FORBIDDEN, body)
}

fn chunk() -> Bytes {
    Bytes::from_static(&[0; 1000])
}

/// A body that never ends.
fn stalling() -> Body {
    let begin = futures::stream::iter([Ok::<_, Infallible>(chunk())]);
    Body::from_stream(begin.chain(futures::stream::pending()))
}

/// A store that announces more than it sends.
pub(crate) async fn lying_store() -> Source {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 4096]).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\nshort";
        socket.write_all(answer).await.unwrap();
    });
    Source::Url(format!("http://{address}/lie"))
}

/// An address where nothing listens.
pub(crate) async fn closed_store() -> Source {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Source::Url(format!("http://{address}/closed?X-Amz-Signature=secret"))
}
