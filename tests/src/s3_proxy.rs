//! A proxy before the bucket: it fails, holds or changes what a test says, and makes objects old.

use crate::s3_answers::{Stranger, Way};
use crate::served::serve;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, OnceLock};
use tokio_util::task::AbortOnDropHandle;

const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail(u16),
    /// Passes it on, and changes the answer.
    Change(Way),
    /// Answers it without the store.
    Answer(Stranger),
}

pub type Rule = Arc<dyn Fn(&Parts) -> BoxFuture<'static, Verdict> + Send + Sync>;

/// A proxy on loopback; it ends with this value.
pub struct S3Proxy {
    pub url: String,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    target: OnceLock<String>,
    rules: Mutex<Vec<Rule>>,
    /// When MinIO stored the object, by its own header.
    put_at: Option<Timestamp>,
}

impl S3Proxy {
    /// Answers 503 until it has a target. `put_at`: the time that MinIO records for objects.
    pub async fn start(put_at: Option<Timestamp>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            put_at,
            ..Shared::default()
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let (url, serving) = serve(router).await?;
        Ok(Self {
            url,
            shared,
            _serving: serving,
        })
    }

    pub fn target(&self, endpoint: &str) {
        let _ = self.shared.target.set(endpoint.to_owned());
    }

    /// Adds a rule; it holds until [`S3Proxy::lift`] names it.
    pub fn rule(&self, rule: Rule) -> Rule {
        let mut rules = self.shared.rules.lock().expect("not poisoned");
        rules.push(Arc::clone(&rule));
        rule
    }

    pub fn lift(&self, rule: &Rule) {
        let mut rules = self.shared.rules.lock().expect("not poisoned");
        rules.retain(|each| !Arc::ptr_eq(each, rule));
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let rules = shared.rules.lock().expect("not poisoned").clone();
    let mut ways = Vec::new();
    for rule in rules {
        match rule(&parts).await {
            Verdict::Pass => {}
            Verdict::Fail(status) => {
                let status = StatusCode::from_u16(status).expect("a status");
                return status.into_response();
            }
            Verdict::Change(way) => ways.push(way),
            Verdict::Answer(stranger) => return stranger.answer(),
        }
    }
    let Some(target) = shared.target.get() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Ok(mut answer) = forward(target, &shared, &parts, body).await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    for way in ways {
        answer = way.change(&parts, answer).await;
    }
    answer
}

/// Keeps the client's Host header, which is signed.
async fn forward(
    target: &str,
    shared: &Shared,
    parts: &Parts,
    body: Bytes,
) -> reqwest::Result<Response> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers.clone();
    if let Some(put_at) = shared.put_at {
        let value = HeaderValue::from_str(&put_at.to_string()).expect("a time is a header");
        headers.insert("x-minio-source-mtime", value);
    }
    let client = reqwest::Client::new();
    let request = client.request(parts.method.clone(), format!("{target}{path}"));
    let answer = request.headers(headers).body(body).send().await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(Body::from(answer.bytes().await?));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}
