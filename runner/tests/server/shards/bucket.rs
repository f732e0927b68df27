//! A store with clocks and faults that a real one cannot produce on demand: URLs that expire within a
//! second, answers of 503, streams that break.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use fovea_protocol::{Item, Upload};
use futures::StreamExt as _;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// The store; it lives as long as the test.
#[derive(Clone)]
pub(super) struct Bucket {
    address: SocketAddr,
    shared: Arc<Mutex<Inside>>,
    began: Instant,
}

#[derive(Default)]
pub(super) struct Inside {
    /// What GET reads.
    pub(super) objects: BTreeMap<String, Bytes>,
    /// What PUT has written.
    pub(super) written: BTreeMap<String, Bytes>,
    /// GETs of this key, or of all if it is empty, and every PUT are answered 503 as many times.
    pub(super) failing: Option<(String, usize)>,
    /// As many GETs are answered; any further one is answered 503.
    pub(super) most_gets: Option<usize>,
    /// A GET is cut off after as many bytes of its answer, as many times.
    pub(super) cuts: Vec<u64>,
    /// Replaces an object as soon as it has been read from.
    pub(super) replacement: Option<(String, Vec<u8>)>,
    /// Time that a GET takes.
    pub(super) delay: Duration,
    /// GETs that were answered with an object.
    pub(super) gets: usize,
    /// GETs by a URL that had expired.
    pub(super) expired: usize,
    /// PUTs of any outcome, in order.
    pub(super) puts: Vec<String>,
}

#[derive(Deserialize)]
struct Signed {
    until: u64,
}

impl Bucket {
    pub(super) async fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bucket = Self {
            address: tcp.local_addr().unwrap(),
            shared: Arc::default(),
            began: Instant::now(),
        };
        let routes = Router::new()
            .route("/{*key}", get(read).put(write))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(bucket.clone());
        tokio::spawn(async move { axum::serve(tcp, routes).await });
        bucket
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.shared.lock().unwrap()
    }

    /// Adds `count` objects with these bytes; returns their keys.
    pub(super) fn fill(&self, count: usize, bytes: &[u8]) -> Vec<String> {
        let keys: Vec<_> = (0..count).map(|n| format!("{n:04}.png")).collect();
        for key in &keys {
            self.add(key, bytes.to_vec());
        }
        keys
    }

    pub(super) fn add(&self, key: &str, bytes: impl Into<Bytes>) {
        self.lock().objects.insert(key.to_owned(), bytes.into());
    }

    fn sign(&self, key: &str, lifetime: Duration) -> String {
        let until = (self.began.elapsed() + lifetime).as_millis();
        format!("http://{}/{key}?until={until}", self.address)
    }

    /// An item with a URL that lives so long.
    pub(super) fn item(&self, key: &str, lifetime: Duration) -> Item {
        Item {
            key: key.to_owned(),
            id: None,
            url: Some(self.sign(key, lifetime)),
            bytes: None,
            parameters: None,
            error: None,
        }
    }

    /// A signed PUT of an object that must not exist.
    pub(super) fn upload(&self, key: &str) -> Upload {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Upload {
            url: self.sign(key, Duration::from_mins(1)),
            headers: BTreeMap::from([
                header("host", &self.address.to_string()),
                header("if-none-match", "*"),
            ]),
        }
    }

    fn is_live(&self, signed: &Signed) -> bool {
        self.began.elapsed().as_millis() <= u128::from(signed.until)
    }
}

impl Inside {
    /// Whether this request is one that the store fails.
    fn fails(&mut self, key: &str) -> bool {
        match &mut self.failing {
            Some((failing, times)) if *times > 0 && (failing.is_empty() || *failing == key) => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }
}

async fn read(
    State(bucket): State<Bucket>,
    Path(key): Path<String>,
    Query(signed): Query<Signed>,
    headers: HeaderMap,
) -> Response {
    let is_live = bucket.is_live(&signed);
    let delay = bucket.lock().delay;
    tokio::time::sleep(delay).await;
    let mut inside = bucket.lock();
    let over = inside.most_gets.is_some_and(|most| inside.gets >= most);
    if over || inside.fails(&key) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if !is_live {
        inside.expired += 1;
        return StatusCode::FORBIDDEN.into_response();
    }
    let Some(bytes) = inside.objects.get(&key).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let etag = format!("\"{}\"", bytes.len());
    if headers.get(IF_MATCH).is_some_and(|wanted| *wanted != etag) {
        return StatusCode::PRECONDITION_FAILED.into_response();
    }
    inside.gets += 1;
    if let Some((key, bytes)) = inside.replacement.take() {
        inside.objects.insert(key, bytes.into());
    }
    let range = headers.get(RANGE).map(|range| range.to_str().unwrap());
    let from = range.map(|range| range["bytes=".len()..range.len() - 1].parse().unwrap());
    let status = match from {
        Some(_) => StatusCode::PARTIAL_CONTENT,
        None => StatusCode::OK,
    };
    let bytes = bytes.slice(from.unwrap_or(0)..);
    let length = bytes.len();
    let cut = inside.cuts.pop().map(|cut| usize::try_from(cut).unwrap());
    let whole = cut.is_none_or(|cut| cut >= length);
    let piece = bytes.slice(..cut.unwrap_or(length).min(length));
    let rest = async move {
        if !whole {
            // What has been sent arrives first.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let broken = || Err(std::io::Error::other("the store broke off"));
        (!whole).then(broken)
    };
    let rest = futures::stream::once(rest).filter_map(std::future::ready);
    let body = futures::stream::iter([Ok(piece)]).chain(rest);
    let head = Response::builder()
        .status(status)
        .header(ETAG, etag)
        .header("content-length", length);
    head.body(Body::from_stream(body)).unwrap()
}

async fn write(
    State(bucket): State<Bucket>,
    Path(key): Path<String>,
    Query(signed): Query<Signed>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    assert_eq!(headers[IF_NONE_MATCH], "*");
    let is_live = bucket.is_live(&signed);
    let mut inside = bucket.lock();
    inside.puts.push(key.clone());
    if inside.fails(&key) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if !is_live {
        return StatusCode::FORBIDDEN;
    }
    if inside.written.contains_key(&key) {
        return StatusCode::PRECONDITION_FAILED;
    }
    inside.written.insert(key, body);
    StatusCode::OK
}
