//! Receivers of webhooks on loopback, by https, that answer what the path says:
//! `/<name>/500/200` is answered 500, then 200 for good; `hang` is never answered.

pub use crate::authority::Authority;
use crate::authority::TlsListener;
use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

pub const ELSEWHERE: &str = "/elsewhere/200";

#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub struct Receiver {
    pub port: u16,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    hanging: AtomicUsize,
    most_hanging: AtomicUsize,
}

/// A request that is not answered, until its sender gives up.
struct Hanging<'a>(&'a Shared);

impl<'a> Hanging<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let now = shared.hanging.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_hanging.fetch_max(now, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.hanging.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Receiver {
    pub async fn start(authority: &Authority) -> anyhow::Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let port = tcp.local_addr()?.port();
        let shared: Arc<Shared> = Arc::default();
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&shared));
        let listener = TlsListener {
            tcp,
            acceptor: authority.loopback_acceptor().context("a certificate")?,
        };
        let serving = async move {
            axum::serve(listener, router).await.expect("it serves");
        };
        Ok(Self {
            port,
            shared,
            _serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        })
    }

    /// What has come under `path`, in its order.
    ///
    /// # Panics
    /// Where the receiver has.
    pub fn received(&self, path: &str) -> Vec<Received> {
        let received = self.shared.received.lock().expect("not poisoned");
        let of_path = received.iter().filter(|each| each.path == path);
        of_path.cloned().collect()
    }

    /// Requests that hang now.
    pub fn hanging(&self) -> usize {
        self.shared.hanging.load(Ordering::SeqCst)
    }

    /// The most requests that have hung at a time.
    pub fn most_hanging(&self) -> usize {
        self.shared.most_hanging.load(Ordering::SeqCst)
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let received = Received {
        path: uri.path().to_owned(),
        headers,
        body,
    };
    let before = {
        let mut all = shared.received.lock().expect("not poisoned");
        all.push(received);
        let same = all.iter().filter(|each| each.path == uri.path());
        same.count() - 1
    };
    let answers: Vec<&str> = uri.path().split('/').skip(2).collect();
    let answer = answers.get(before).or(answers.last()).unwrap_or(&"404");
    if *answer == "hang" {
        let _hanging = Hanging::begin(&shared);
        std::future::pending::<()>().await;
    }
    let status: StatusCode = answer.parse().expect("/<name>/<status>...");
    if status.is_redirection() {
        return (status, [(header::LOCATION, ELSEWHERE)]).into_response();
    }
    (status, "the receiver's own words").into_response()
}
