//! What all requests share, and what the runner says about itself.

use super::admission::Admissions;
use super::auth::Token;
use super::fetch::{FetchLimits, Fetcher};
use super::reply::problem_response;
use crate::engine::Engine;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use fovea_protocol::{ModelState, Problem, Reason, RunnerState};
use http::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// The unit in which memory for decoding is counted: a semaphore counts in 32 bits.
const BUDGET_UNIT_BYTES: u64 = 1024;

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// Requests taken at once.
    pub slots: u32,
    /// The bearer token, if one is asked for.
    pub token: Option<String>,
    /// Bounds on getting a picture.
    pub fetch: FetchLimits,
    /// Largest picture, in pixels.
    pub max_picture_pixels: u64,
    /// Memory for decoding and resizing, of all pictures at once.
    pub max_decode_bytes: u64,
}

/// What all requests share.
pub struct App {
    pub(super) engine: Engine,
    pub(super) admissions: Admissions,
    pub(super) fetcher: Fetcher,
    pub(super) token: Option<Token>,
    pub(super) max_picture_pixels: u64,
    pub(super) decode_budget: DecodeBudget,
    slots: u32,
    instance: String,
    draining: AtomicBool,
}

impl App {
    /// Over a started engine.
    pub fn new(engine: Engine, config: AppConfig) -> Result<Arc<Self>, reqwest::Error> {
        let AppConfig {
            slots,
            token,
            fetch,
            max_picture_pixels,
            max_decode_bytes,
        } = config;
        Ok(Arc::new(Self {
            engine,
            admissions: Admissions::new(slots),
            fetcher: Fetcher::new(fetch)?,
            token: token.as_deref().map(Token::new),
            max_picture_pixels,
            decode_budget: DecodeBudget::new(max_decode_bytes),
            slots,
            instance: uuid::Uuid::new_v4().to_string(),
            draining: AtomicBool::new(false),
        }))
    }

    /// From now on no new work is taken and `/readyz` says so.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Resolves when nothing runs any more.
    pub async fn idle(&self) {
        self.admissions.idle().await;
    }

    /// Ends what still runs: the time to drain is over.
    pub fn abort_all(&self) {
        self.admissions.abort_all();
    }

    /// Why no new work is taken, if so.
    pub(super) fn not_ready(&self) -> Option<Problem> {
        let why = if self.draining.load(Ordering::Acquire) {
            "the runner is shutting down"
        } else if !self.engine.ready() {
            "the runner is loading its models"
        } else {
            return None;
        };
        Some(Problem::new(Reason::NotReady, why))
    }
}

/// Memory for decoding: what a picture needs is taken before and given back after.
pub(super) struct DecodeBudget {
    permits: Arc<Semaphore>,
    pub(super) total_bytes: u64,
}

impl DecodeBudget {
    fn new(total_bytes: u64) -> Self {
        let units = u32::try_from(total_bytes / BUDGET_UNIT_BYTES).unwrap_or(u32::MAX);
        Self {
            permits: Arc::new(Semaphore::new(units as usize)),
            total_bytes,
        }
    }

    /// Waits for `bytes`, first come first served; `None` where they are more than all there is.
    pub(super) async fn take(&self, bytes: u64) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).ok()?;
        if bytes > self.total_bytes {
            return None;
        }
        Arc::clone(&self.permits)
            .acquire_many_owned(units)
            .await
            .ok()
    }
}

/// `GET /v1/models`.
pub(super) async fn models(State(app): State<Arc<App>>) -> Json<RunnerState> {
    let models = app.engine.models().iter().map(|model| ModelState {
        name: model.name.clone(),
        task: model.front.head.task(),
        revision: model.revision().unwrap_or_default().to_owned(),
        ready: model.revision().is_some(),
    });
    Json(RunnerState {
        instance: app.instance.clone(),
        slots: app.slots,
        busy: app.admissions.busy(),
        models: models.collect(),
    })
}

/// `GET /readyz`: 200 once every model is resident and has made one pass, till SIGTERM.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<StatusCode, Response> {
    match app.not_ready() {
        None => Ok(StatusCode::OK),
        Some(problem) => Err(problem_response(&problem)),
    }
}
