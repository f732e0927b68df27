//! The state that requests share, and the runner's report about itself.

use super::admission::Admissions;
use super::claim::Slots;
use super::decoders::Decoders;
use super::fetch::{FetchLimits, Fetcher};
use super::kept::{KeepConfig, Kept};
use super::reply::problem_response;
use super::shards::{Shards, ShardsConfig};
use super::tokens::Tokens;
use crate::engine::{Engine, Residency};
use crate::metrics::{METRICS_CONTENT_TYPE, Metrics, Reading};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use fovea_protocol::{ModelState, Problem, Reason, RunnerState};
use fovea_trust::Authorities;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub struct AppConfig {
    pub slots: u32,
    /// Shards of batches.
    pub shards: ShardsConfig,
    /// The accepted bearer tokens; `None` accepts every request.
    pub tokens: Option<Arc<Tokens>>,
    /// Bounds on downloading a picture.
    pub fetch: FetchLimits,
    pub max_picture_pixels: u64,
    /// Memory for decoding and resizing, shared by all pictures.
    pub max_decode_bytes: u64,
    /// Upper bound on pictures decoded and resized at once: on small ones, and besides on large ones.
    pub preprocess_threads: usize,
    /// Sources that `PUT /v1/models/{name}` may use.
    pub keep: KeepConfig,
    /// Time without a request after which an installation may be forgotten.
    pub forget_installation_after: Duration,
    /// The object store's certificate authorities; `None` trusts the system's.
    pub authorities: Option<Arc<Authorities>>,
}

pub struct App {
    pub(super) engine: Engine,
    pub(super) admissions: Admissions,
    pub(super) fetcher: Fetcher,
    pub(super) tokens: Option<Arc<Tokens>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) max_picture_pixels: u64,
    pub(super) decoders: Decoders,
    /// Bounds the downloads of `POST /v1/questions`.
    pub(super) questions: Semaphore,
    pub(super) keep: KeepConfig,
    pub(super) kept: Kept,
    pub(super) shards: Shards,
    pub(super) authorities: Option<Arc<Authorities>>,
    /// Cancelled when the runner shuts down.
    pub(super) drain: CancellationToken,
    slots: Slots,
    instance: String,
}

impl App {
    pub fn new(
        engine: Engine,
        config: AppConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, fovea_proxy::ClientError> {
        let AppConfig {
            slots,
            shards,
            tokens,
            fetch,
            max_picture_pixels,
            max_decode_bytes,
            preprocess_threads,
            keep,
            forget_installation_after,
            authorities,
        } = config;
        let slots = Slots {
            jobs: slots,
            shards: shards.slots,
        };
        Ok(Arc::new(Self {
            engine,
            admissions: Admissions::new(slots, forget_installation_after),
            fetcher: Fetcher::new(fetch, authorities.clone())?,
            tokens,
            metrics,
            max_picture_pixels,
            decoders: Decoders::new(max_decode_bytes, preprocess_threads),
            questions: Semaphore::new(slots.jobs as usize),
            keep,
            kept: Kept::default(),
            shards: Shards::new(shards, authorities.clone())?,
            authorities,
            drain: CancellationToken::new(),
            slots,
            instance: uuid::Uuid::new_v4().to_string(),
        }))
    }

    /// Refuses new work from now on; `/readyz` fails.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Resolves once no attempt is running.
    pub async fn idle(&self) {
        self.admissions.idle().await;
    }

    pub fn abort_all(&self) {
        self.admissions.abort_all();
    }

    /// The problem that refuses new work, once the runner is shutting down.
    pub(super) fn draining(&self) -> Option<Problem> {
        let draining = self.drain.is_cancelled();
        draining.then(|| Problem::new(Reason::NotReady, "the runner is shutting down"))
    }

    /// The answer to `GET /v1/models`.
    pub(super) fn state(&self) -> RunnerState {
        let mut put = self.kept.states();
        let mut models: Vec<_> = (self.engine.models().into_iter())
            .map(|model| {
                // A replacement that failed before the engine received it.
                let mut failure =
                    (put.extract_if(.., |put| put.name == model.name)).find_map(|put| put.failure);
                let revision = match model.residency() {
                    Residency::Loading => String::new(),
                    Residency::Ready { revision } => revision,
                    Residency::Failed { why } => {
                        failure.get_or_insert(why);
                        String::new()
                    }
                };
                ModelState {
                    name: model.name.clone(),
                    task: model.front.head.task(),
                    ready: !revision.is_empty(),
                    revision,
                    failure,
                }
            })
            .collect();
        models.append(&mut put);
        let busy = self.admissions.busy();
        RunnerState {
            instance: self.instance.clone(),
            slots: self.slots.jobs,
            busy: busy.jobs,
            shard_slots: self.slots.shards,
            shards_busy: busy.shards,
            models,
        }
    }
}

/// `GET /readyz`: 200 once every model is resident and warm, until SIGTERM.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<StatusCode, Response> {
    let loading = || {
        let models = app.state().models;
        let all_ready = !models.is_empty() && models.iter().all(|model| model.ready);
        let why = "the runner is loading its models";
        (!(all_ready && app.engine.alive())).then(|| Problem::new(Reason::NotReady, why))
    };
    match app.draining().or_else(loading) {
        None => Ok(StatusCode::OK),
        Some(problem) => Err(problem_response(&problem)),
    }
}

/// Answers `GET /metrics` in the format of Prometheus.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let RunnerState {
        instance: _,
        slots,
        busy,
        shard_slots,
        shards_busy,
        models,
    } = app.state();
    let text = app.metrics.text(Reading {
        slots,
        busy,
        shard_slots,
        shards_busy,
        models: (models.into_iter())
            .map(|model| (model.name, model.ready))
            .collect(),
        free_decode_bytes: app.decoders.free_bytes(),
    });
    ([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], text)
}
