//! A proxy before the API server that injects faults of a network or an overloaded server.

use crate::operated::PATIENCE;
use crate::runner::break_connection;
use crate::served::serve;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use fovea_harness::{ControlPlane, eventually};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Forwarded, and so is the answer.
    Pass,
    /// The connection breaks before the request is forwarded.
    LoseRequest,
    /// The request is forwarded; then the connection breaks.
    LoseAnswer,
    /// The request is neither forwarded nor answered.
    HoldRequest,
    /// The request is held until [`Proxy::release`], then forwarded.
    DelayRequest,
    /// The request is forwarded; its answer is kept back.
    HoldAnswer,
    /// Answered with this status, not forwarded.
    Answer(u16),
    /// Answered as the API server does when there is no such object, not forwarded.
    NotFound,
    /// A watch: forwarded and answered, but no event follows, and no end.
    Silence,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub method: Method,
    /// A part of the path and query.
    pub contains: &'static str,
    pub fate: Fate,
    /// Number of requests; `None` for all.
    pub times: Option<u32>,
}

pub struct Proxy {
    pub kubeconfig: PathBuf,
    shared: Shared,
    _scratch: tempfile::TempDir,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Shared {
    client: Client,
    rules: Arc<Mutex<Vec<Rule>>>,
    /// Requests that matched a rule.
    met: Arc<AtomicU32>,
    held: Arc<AtomicU32>,
    /// Seconds by which the answers' `Date` is ahead of the time.
    ahead_seconds: Arc<AtomicI64>,
    /// Whether delayed requests are forwarded.
    released: watch::Sender<bool>,
    /// A change breaks open watches.
    generation: watch::Sender<u64>,
}

impl Proxy {
    /// Starts one that forwards everything, as `user` or the cluster's administrator.
    pub async fn start(control_plane: &ControlPlane, user: Option<&str>) -> anyhow::Result<Self> {
        let shared = Shared {
            client: control_plane.client().await?,
            rules: Arc::default(),
            met: Arc::default(),
            held: Arc::default(),
            ahead_seconds: Arc::default(),
            released: watch::Sender::new(false),
            generation: watch::Sender::new(0),
        };
        let routes = Router::new().fallback(forward).with_state(shared.clone());
        let (server, serving) = serve(routes).await?;
        let scratch = tempfile::tempdir()?;
        let kubeconfig = scratch.path().join("kubeconfig");
        // The control plane's kubeconfig needs certificates, which the proxy has.
        std::fs::write(&kubeconfig, self::kubeconfig(&server, user))?;
        Ok(Self {
            kubeconfig,
            shared,
            _scratch: scratch,
            _serving: serving,
        })
    }

    /// From now on these rules hold and no others.
    pub fn rule(&self, rules: impl Into<Vec<Rule>>) {
        *self.shared.rules() = rules.into();
        self.shared.met.store(0, Ordering::Relaxed);
    }

    pub fn met(&self) -> u32 {
        self.shared.met.load(Ordering::Relaxed)
    }

    pub async fn holds_one(&self) -> anyhow::Result<()> {
        let holds = async || {
            let held = self.shared.held.load(Ordering::Relaxed);
            anyhow::ensure!(held > 0, "none is");
            Ok(())
        };
        Ok(eventually("a request to be held", PATIENCE, holds).await?)
    }

    /// Forwards every delayed request.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// From now on the API server's clock seems to be so many seconds ahead.
    pub fn set_ahead(&self, seconds: i64) {
        self.shared.ahead_seconds.store(seconds, Ordering::Relaxed);
    }

    pub fn break_watches(&self) {
        self.shared
            .generation
            .send_modify(|generation| *generation += 1);
    }
}

impl Rule {
    pub fn every(method: Method, contains: &'static str, fate: Fate) -> Self {
        Self {
            method,
            contains,
            fate,
            times: None,
        }
    }

    pub fn next(times: u32, method: Method, contains: &'static str, fate: Fate) -> Self {
        Self {
            times: Some(times),
            ..Self::every(method, contains, fate)
        }
    }

    /// The requests of this kind meet `first`, one each, and then all `rest`.
    pub fn in_turn(
        method: &Method,
        contains: &'static str,
        first: &[Fate],
        rest: Fate,
    ) -> Vec<Self> {
        let next = |fate: &Fate| Self::next(1, method.clone(), contains, *fate);
        let mut rules: Vec<Self> = first.iter().map(next).collect();
        rules.push(Self::every(method.clone(), contains, rest));
        rules
    }

    fn meets(&mut self, request: &Request) -> bool {
        let target = request.uri().path_and_query();
        let matches = *request.method() == self.method
            && target.is_some_and(|target| target.as_str().contains(self.contains))
            && self.times != Some(0);
        if matches {
            self.times = self.times.map(|times| times - 1);
        }
        matches
    }
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().expect("not poisoned")
    }

    async fn hold(&self) -> Response {
        self.held.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }

    async fn delay(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
        // It lives as long as the sender.
        let _ = self.released.subscribe().wait_for(|it| *it).await;
    }
}

/// A kubeconfig for a server without authentication, which treats clients as `user`.
pub fn kubeconfig(server: &str, user: Option<&str>) -> String {
    let user = user.map_or_else(|| json!({}), |user| json!({ "as": user }));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    config.to_string()
}

async fn forward(State(shared): State<Shared>, request: Request) -> Response {
    let fate = shared
        .rules()
        .iter_mut()
        .find_map(|rule| rule.meets(&request).then_some(rule.fate));
    shared
        .met
        .fetch_add(u32::from(fate.is_some()), Ordering::Relaxed);
    match fate {
        Some(Fate::LoseRequest) => break_connection(),
        Some(Fate::HoldRequest) => return shared.hold().await,
        Some(Fate::DelayRequest) => shared.delay().await,
        Some(Fate::Answer(code)) => return answer(code, &json!({})),
        Some(Fate::NotFound) => {
            let path = request.uri().path().trim_end_matches("/status");
            let name = path.rsplit('/').next().unwrap_or_default();
            return answer(404, &json!({"name": name}));
        }
        Some(Fate::Pass | Fate::LoseAnswer | Fate::HoldAnswer | Fate::Silence) | None => {}
    }
    let is_watch = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch="));
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(axum::http::header::HOST);
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .expect("a whole request");
    let forwarded = axum::http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    // If the API server is down, so is the proxy.
    let Ok(mut answer) = shared.client.send(forwarded).await else {
        break_connection()
    };
    let ahead = SignedDuration::from_secs(shared.ahead_seconds.load(Ordering::Relaxed));
    if !ahead.is_zero() {
        let date = rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&(Timestamp::now() + ahead));
        let date = date.expect("a date").parse().expect("a header");
        answer.headers_mut().insert(axum::http::header::DATE, date);
    }
    match fate {
        Some(Fate::LoseAnswer) => break_connection(),
        Some(Fate::HoldAnswer) => return shared.hold().await,
        Some(Fate::Silence) => {
            let silence = futures::stream::pending::<Result<axum::body::Bytes, Infallible>>();
            return answer.map(|_| Body::from_stream(silence));
        }
        _ => {}
    }
    if !is_watch {
        return answer.map(Body::new);
    }
    let mut generation = shared.generation.subscribe();
    let broken = async move {
        let _ = generation.changed().await;
    };
    answer.map(|body| {
        let pieces = Body::new(body).into_data_stream();
        Body::from_stream(futures::StreamExt::take_until(pieces, Box::pin(broken)))
    })
}

/// An error as the API server writes it.
fn answer(code: u16, details: &Value) -> Response {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "says the proxy", "reason": reason, "code": code, "details": details,
    });
    let code = StatusCode::from_u16(code).expect("a status");
    (code, axum::Json(status)).into_response()
}
