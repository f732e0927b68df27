//! The client of one runner.

use crate::dispatch::conversation::{self, NoAnswer, excerpt};
use crate::job::retry::Outcome;
use crate::pool::published::Access;
use bytes::Bytes;
use fovea_crds::Task;
use fovea_protocol::{
    INFER_PATH, InferRequest, LEADER_PATH, LeaderRequest, MODELS_PATH, ModelRequest,
    NDJSON_CONTENT_TYPE, Problem, QUESTIONS_PATH, Question, RunnerState, SHARDS_PATH, Stage,
};
use fovea_telemetry::trace::TRACEPARENT;
use futures::StreamExt as _;
use reqwest::Certificate;
use reqwest::header::CONTENT_TYPE;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use url::Url;

/// Timeout of the TCP and TLS handshakes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Timeout of every call but inference.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer to a call but inference.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum RunnerError {
    #[error("the runner cannot be reached: {0}")]
    Unreachable(#[source] reqwest::Error),
    #[error("the runner rejects the token; check the Secret that the pool's tokenSecretRef names")]
    Unauthorized,
    /// It follows a leader of a higher epoch: this one, if it says so.
    #[error("the runner follows a leader of a higher epoch")]
    StaleEpoch(Option<u64>),
    #[error("the runner refuses: {0}")]
    Refused(String),
    #[error("the runner gave an unexpected answer: {0}")]
    Nonsense(String),
    #[error("{0}")]
    Config(String),
}

/// A client of one runner. Cheap to clone: clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct RunnerClient {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

/// A client that uses neither proxies nor redirects: it connects to its runner only.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
}

impl RunnerClient {
    /// A client for the runner at `base`, with its bearer token and the certificate authority
    /// (PEM) that signed its certificate, where it has them.
    pub(super) fn new(
        base: Url,
        token: Option<String>,
        ca_pem: Option<&[u8]>,
    ) -> Result<Self, RunnerError> {
        let mut builder = builder();
        if let Some(pem) = ca_pem {
            let authority = Certificate::from_pem(pem).map_err(|error| {
                RunnerError::Config(format!(
                    "caSecretRef: ca.crt is not a PEM certificate: {error}"
                ))
            })?;
            builder = builder.tls_certs_only([authority]);
        }
        let http = builder
            .build()
            .map_err(|error| RunnerError::Config(error.to_string()))?;
        Ok(Self { http, base, token })
    }

    /// A client for a pod: its certificate is for the URL's host, which resolves to `address`.
    pub(super) fn at(url: Url, address: SocketAddr, access: &Access) -> Result<Self, RunnerError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let authorities = Certificate::from_pem_bundle(access.authorities.as_bytes())
            .map_err(|error| RunnerError::Config(error.to_string()))?;
        let http = builder()
            .resolve(&host, address)
            .tls_certs_only(authorities)
            .build()
            .map_err(|error| RunnerError::Config(error.to_string()))?;
        Ok(Self {
            http,
            base: url,
            token: Some(access.token.clone()),
        })
    }

    /// The runner's address, for statuses and logs.
    pub(super) fn address(&self) -> &Url {
        &self.base
    }

    /// Announces this leader; the runner drops the jobs of older leaders.
    pub(super) async fn announce(&self, leader: &LeaderRequest) -> Result<(), RunnerError> {
        self.call(self.request(reqwest::Method::PUT, LEADER_PATH).json(leader))
            .await
            .map(|_| ())
    }

    pub(super) async fn state(&self) -> Result<RunnerState, RunnerError> {
        let body = self
            .call(self.request(reqwest::Method::GET, MODELS_PATH))
            .await?;
        serde_json::from_slice(&body).map_err(|error| RunnerError::Nonsense(error.to_string()))
    }

    /// Asks the runner to load a model; it answers before the model is loaded.
    pub(super) async fn keep(&self, name: &str, model: &ModelRequest) -> Result<(), RunnerError> {
        let path = format!("{MODELS_PATH}/{name}");
        self.call(self.request(reqwest::Method::PUT, &path).json(model))
            .await
            .map(|_| ())
    }

    /// Runs one attempt to its end; dropping the future breaks the connection, and with it the
    /// attempt.
    /// `traceparent`: the trace that the runner joins. `stage` follows the runner's progress.
    pub(super) async fn infer(
        &self,
        task: Task,
        request: &InferRequest,
        traceparent: Option<&str>,
        stage: &watch::Sender<Stage>,
    ) -> Outcome {
        let mut call = self.request(reqwest::Method::POST, INFER_PATH);
        if let Some(traceparent) = traceparent {
            call = call.header(TRACEPARENT, traceparent);
        }
        conversation::run(call, task, request, stage).await
    }

    /// Asks which question a request asks.
    pub(super) async fn question(&self, request: &InferRequest) -> Result<String, RunnerError> {
        let call = self.request(reqwest::Method::POST, QUESTIONS_PATH);
        let body = self.call(call.json(request)).await?;
        let answer: Question = serde_json::from_slice(&body)
            .map_err(|error| RunnerError::Nonsense(error.to_string()))?;
        Ok(answer.question)
    }

    /// Begins an attempt at a shard, whose orders come from `orders`; returns the answer's head. Dropping
    /// the answer breaks the connection, and with it the attempt.
    pub(super) async fn shard(
        &self,
        orders: mpsc::Receiver<Bytes>,
    ) -> Result<reqwest::Response, NoAnswer> {
        let orders = ReceiverStream::new(orders).map(Ok::<_, Infallible>);
        let call = self
            .request(reqwest::Method::POST, SHARDS_PATH)
            .header(CONTENT_TYPE, NDJSON_CONTENT_TYPE)
            .body(reqwest::Body::wrap_stream(orders));
        conversation::begin(call).await
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(path);
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, RunnerError> {
        let mut answer = request
            .timeout(CALL_TIMEOUT)
            .send()
            .await
            .map_err(RunnerError::Unreachable)?;
        let status = answer.status();
        if matches!(status.as_u16(), 401 | 403) {
            return Err(RunnerError::Unauthorized);
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(RunnerError::Unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(RunnerError::Nonsense(format!(
                    "more than {MAX_ANSWER_BYTES} bytes"
                )));
            }
        }
        if status.is_success() {
            return Ok(body);
        }
        let problem: Option<Problem> = serde_json::from_slice(&body).ok();
        Err(match problem {
            _ if status == reqwest::StatusCode::CONFLICT => {
                RunnerError::StaleEpoch(problem.and_then(|problem| problem.epoch))
            }
            Some(problem) => RunnerError::Refused(excerpt(&problem.detail)),
            None => RunnerError::Nonsense(format!("HTTP {}", status.as_u16())),
        })
    }
}
