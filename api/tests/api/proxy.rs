//! A proxy between the API and the API server that loses answers to creates, or the creates.

use super::harness::Surroundings;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// What happens to one create.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It is forwarded, and its answer as well.
    Pass,
    /// It is forwarded and lands; then the connection breaks.
    LoseAnswer,
    /// The connection breaks before it is forwarded.
    LoseRequest,
    /// It is forwarded and lands; its answer is never given.
    HoldAnswer,
    /// It is never forwarded, and never answered.
    HoldRequest,
}

/// A proxy, and the fates of the creates to come.
pub(crate) struct Proxy {
    fates: Fates,
    /// Creates whose answer is held.
    held: Arc<AtomicUsize>,
    pub(crate) refusals: Refusals,
    scratch: tempfile::TempDir,
}

/// What every request meets.
#[derive(Clone)]
struct Shared {
    client: kube::Client,
    fates: Fates,
    held: Arc<AtomicUsize>,
    refusals: Refusals,
}

type Fates = Arc<Mutex<(VecDeque<Fate>, Fate)>>;

/// What is refused beside creates.
#[derive(Clone, Default)]
pub(crate) struct Refusals {
    /// Watches break before they begin.
    pub(crate) watches: Arc<AtomicBool>,
    /// Lists that go on are told that they are too old.
    pub(crate) continued_lists: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts one on a free port; the creates meet `first`, one each, and then all `rest`.
    pub(crate) async fn start(first: &[Fate], rest: Fate) -> anyhow::Result<Self> {
        let cluster = super::harness::cluster().await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let fates: Fates = Arc::new(Mutex::new((first.iter().copied().collect(), rest)));
        let (refusals, held) = (Refusals::default(), Arc::default());
        let state = Shared {
            client: cluster.client().await?,
            fates: Arc::clone(&fates),
            held: Arc::clone(&held),
            refusals: refusals.clone(),
        };
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(forward).with_state(state)).await
        });
        let scratch = tempfile::tempdir()?;
        std::fs::write(
            scratch.path().join("kubeconfig"),
            kubeconfig(&format!("http://{address}")),
        )?;
        Ok(Self {
            fates,
            held,
            refusals,
            scratch,
        })
    }

    /// The shared surroundings, with this proxy before the API server.
    pub(crate) async fn surroundings(&self) -> anyhow::Result<Surroundings> {
        Ok(Surroundings {
            kubeconfig: self.scratch.path().join("kubeconfig"),
            ..Surroundings::shared().await?
        })
    }

    /// Waits until a create is held.
    pub(crate) async fn holds_one(&self) -> anyhow::Result<()> {
        let holds = async || {
            let held = self.held.load(Ordering::Relaxed);
            anyhow::ensure!(held > 0, "none is");
            Ok(())
        };
        super::harness::until("a create to be held", holds).await
    }

    /// From now on all creates meet `fate`.
    pub(crate) fn set(&self, fate: Fate) {
        *self.fates.lock().expect("not poisoned") = (VecDeque::new(), fate);
    }
}

/// A kubeconfig for a server that asks for nothing.
pub(crate) fn kubeconfig(server: &str) -> String {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    })
    .to_string()
}

/// The control plane's own kubeconfig asks for certificates; the proxy has them.
async fn forward(State(shared): State<Shared>, request: Request) -> Response {
    let Shared {
        client,
        fates,
        held,
        refusals,
    } = shared;
    let query = request.uri().query().unwrap_or_default();
    if query.contains("watch=true") && refusals.watches.load(Ordering::Relaxed) {
        break_connection();
    }
    if query.contains("continue=") && refusals.continued_lists.load(Ordering::Relaxed) {
        return expired();
    }
    let fate = match *request.method() {
        http::Method::POST => {
            let mut fates = fates.lock().expect("not poisoned");
            let rest = fates.1;
            fates.0.pop_front().unwrap_or(rest)
        }
        _ => Fate::Pass,
    };
    let hold = async || {
        held.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<Response>().await
    };
    match fate {
        Fate::LoseRequest => break_connection(),
        Fate::HoldRequest => return hold().await,
        Fate::Pass | Fate::LoseAnswer | Fate::HoldAnswer => {}
    }
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(http::header::HOST);
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .expect("a whole request");
    let forwarded = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let answer = client.send(forwarded).await.expect("an answer");
    match fate {
        Fate::Pass | Fate::LoseRequest | Fate::HoldRequest => return answer.map(Body::new),
        Fate::LoseAnswer | Fate::HoldAnswer => {}
    }
    assert!(answer.status().is_success(), "{answer:?}");
    if fate == Fate::LoseAnswer {
        break_connection();
    }
    hold().await
}

/// As the API server says it.
fn expired() -> Response {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "The provided continue parameter is too old", "reason": "Expired", "code": 410,
    });
    (http::StatusCode::GONE, axum::Json(status)).into_response()
}

/// hyper drops the connection of a service that panics; this panic is told to nobody.
fn break_connection() -> ! {
    std::panic::resume_unwind(Box::new("the proxy breaks the connection"))
}
