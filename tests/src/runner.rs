//! A runner with the real protocol and without models: a job's picture is its [`Script`].

mod sharded;

use crate::script::{Answer, Script};
use crate::served::serve;
use crate::shards::{SHARD_SLOTS, ShardAttempt};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use fovea_protocol as protocol;
use fovea_protocol::{
    Classification, HEARTBEAT_INTERVAL, INFER_PATH, InferRequest, InferResult, LEADER_PATH,
    LeaderRequest, Line, MODELS_PATH, ModelState, NDJSON_CONTENT_TYPE, Problem, Reason,
    RunnerState, SHARDS_PATH, ServedModel, Source, Stage, Task, Timings,
};
use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub const MODELS: [(&str, Task); 3] = [
    ("captions", Task::ImageToText),
    ("labels", Task::ImageClassification),
    ("objects", Task::ObjectDetection),
];

#[derive(Clone, Debug)]
pub struct Attempt {
    pub job: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Epoch of the operator that sent it.
    pub epoch: u64,
    pub instance: String,
    pub traceparent: Option<String>,
    /// The picture's presigned URL, if it is not inline.
    pub url: Option<String>,
    pub began: Timestamp,
    /// When the answer was complete, or its reader disconnected.
    pub ended: Option<Timestamp>,
    /// Whether the whole answer was sent.
    pub answered: bool,
}

pub struct ScriptedRunner {
    pub url: String,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

struct Shared {
    slots: u32,
    busy: AtomicU32,
    /// Health checks that were answered.
    checks: AtomicU32,
    state: Mutex<Changing>,
}

struct Changing {
    instance: String,
    leader: Option<LeaderRequest>,
    attempts: Vec<Attempt>,
    shards: Vec<ShardAttempt>,
    /// Breaks all requests of the current leader or instance.
    drop_all: CancellationToken,
}

impl ScriptedRunner {
    /// Starts one that takes `slots` requests at once.
    pub async fn start(slots: u32) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            slots,
            busy: AtomicU32::new(0),
            checks: AtomicU32::new(0),
            state: Mutex::new(Changing {
                instance: uuid::Uuid::new_v4().to_string(),
                leader: None,
                attempts: Vec::new(),
                shards: Vec::new(),
                drop_all: CancellationToken::new(),
            }),
        });
        let routes = Router::new()
            .route(LEADER_PATH, put(obey))
            .route(MODELS_PATH, get(models))
            .route(INFER_PATH, post(infer))
            .route(SHARDS_PATH, post(sharded::shard))
            .with_state(Arc::clone(&shared));
        let (url, serving) = serve(routes).await?;
        Ok(Self {
            url,
            shared,
            _serving: serving,
        })
    }

    /// Every attempt so far, in the order of their beginning.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.shared.state().attempts.clone()
    }

    pub fn attempts_of(&self, uid: &str) -> Vec<Attempt> {
        let mut attempts = self.attempts();
        attempts.retain(|attempt| attempt.job == uid);
        attempts
    }

    /// Every attempt at a shard so far, in the order of their beginning.
    pub fn shards(&self) -> Vec<ShardAttempt> {
        self.shared.state().shards.clone()
    }

    /// The leader that was announced to this instance.
    pub fn leader(&self) -> Option<LeaderRequest> {
        self.shared.state().leader.clone()
    }

    /// Comes back as another instance, to which this leader has announced itself before.
    pub fn remember(&self, leader: LeaderRequest) {
        let mut state = self.shared.state();
        state.instance = uuid::Uuid::new_v4().to_string();
        state.leader = Some(leader);
    }

    /// Health checks that it has answered.
    pub fn checks(&self) -> u32 {
        self.shared.checks.load(Ordering::Relaxed)
    }

    /// Breaks every connection's work and comes back as another instance.
    pub fn crash(&self) {
        self.shared.crash();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Changing> {
        self.state.lock().expect("not poisoned")
    }

    fn crash(&self) {
        let mut state = self.state();
        state.instance = uuid::Uuid::new_v4().to_string();
        state.leader = None;
        std::mem::take(&mut state.drop_all).cancel();
    }

    fn describe(&self) -> RunnerState {
        let models = MODELS.map(|(name, task)| ModelState {
            name: name.to_owned(),
            task,
            revision: "scripted".to_owned(),
            ready: true,
            failure: None,
        });
        RunnerState {
            instance: self.state().instance.clone(),
            slots: self.slots,
            busy: self.busy.load(Ordering::Relaxed),
            shard_slots: SHARD_SLOTS,
            shards_busy: 0,
            models: models.into(),
        }
    }
}

async fn models(State(shared): State<Arc<Shared>>) -> Json<RunnerState> {
    shared.checks.fetch_add(1, Ordering::Relaxed);
    Json(shared.describe())
}

async fn obey(State(shared): State<Arc<Shared>>, Json(leader): Json<LeaderRequest>) -> Response {
    let mut state = shared.state();
    if let Some(known) = &state.leader {
        if is_stale(known, &leader) {
            return refuse_epoch(known);
        }
        if known != &leader {
            std::mem::take(&mut state.drop_all).cancel();
        }
    }
    state.leader = Some(leader);
    StatusCode::NO_CONTENT.into_response()
}

/// Whether `leader` is of a lower epoch, or another one of the same.
fn is_stale(known: &LeaderRequest, leader: &LeaderRequest) -> bool {
    let is_another = leader.holder.is_some() && known.holder != leader.holder;
    known.installation == leader.installation
        && (leader.epoch < known.epoch || leader.epoch == known.epoch && is_another)
}

fn refuse(reason: Reason) -> Response {
    answer_with(Problem::new(reason, "says the scripted runner"))
}

fn refuse_epoch(known: &LeaderRequest) -> Response {
    answer_with(Problem::stale_epoch(
        known.epoch,
        "says the scripted runner",
    ))
}

fn answer_with(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).expect("a status");
    let kind = [(header::CONTENT_TYPE, protocol::PROBLEM_CONTENT_TYPE)];
    (status, kind, Json(problem)).into_response()
}

/// A request's slot, and its place in the record.
struct Slot {
    shared: Arc<Shared>,
    index: usize,
    answered: bool,
}

impl Slot {
    fn take(shared: &Arc<Shared>, request: &InferRequest, headers: &HeaderMap) -> Option<Self> {
        let taken = shared.busy.fetch_add(1, Ordering::Relaxed);
        if taken >= shared.slots {
            shared.busy.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let traceparent = headers.get("traceparent");
        let mut state = shared.state();
        let attempt = Attempt {
            job: request.job.clone(),
            attempt: request.attempt,
            epoch: request.epoch,
            instance: state.instance.clone(),
            traceparent: traceparent.and_then(|value| Some(value.to_str().ok()?.to_owned())),
            url: match &request.input.source {
                Source::Url(url) => Some(url.clone()),
                Source::Data(_) => None,
            },
            began: Timestamp::now(),
            ended: None,
            answered: false,
        };
        state.attempts.push(attempt);
        Some(Self {
            index: state.attempts.len() - 1,
            shared: Arc::clone(shared),
            answered: false,
        })
    }

    fn answers(&mut self, whole: bool) {
        self.answered |= whole;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.busy.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.shared.state();
        let attempt = &mut state.attempts[self.index];
        attempt.ended = Some(Timestamp::now());
        attempt.answered = self.answered;
    }
}

async fn infer(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(request): Json<InferRequest>,
) -> Response {
    let drop_all = {
        let state = shared.state();
        let sender = LeaderRequest {
            installation: request.installation.clone(),
            epoch: request.epoch,
            holder: None,
        };
        if let Some(known) = &state.leader
            && is_stale(known, &sender)
        {
            return refuse_epoch(known);
        }
        state.drop_all.clone()
    };
    let Script { wait, answer } = Script::of(&request);
    if answer == Answer::Busy {
        return refuse(Reason::Busy);
    }
    let Some(mut slot) = Slot::take(&shared, &request, &headers) else {
        return refuse(Reason::Busy);
    };
    if wait.is_zero() && answer == Answer::Close {
        drop(slot);
        break_connection();
    }
    let length = (answer == Answer::Short).then_some((header::CONTENT_LENGTH, "100000"));
    let kind = match answer {
        Answer::Html => "text/html",
        _ => NDJSON_CONTENT_TYPE,
    };
    let end = ending(answer, &request.model, wait, Arc::clone(&shared));
    let end = end.inspect(move |piece| slot.answers(piece.is_some()));
    let body = heartbeats(wait).chain(end);
    let body = body
        .map(|piece| piece.ok_or_else(|| std::io::Error::other("this test breaks off")))
        .take_until(drop_all.cancelled_owned());
    let response = ([(header::CONTENT_TYPE, kind)], Body::from_stream(body));
    match length {
        None => response.into_response(),
        Some(length) => ([length], response).into_response(),
    }
}

/// Pieces of the answer; `None` breaks the connection.
type Pieces = BoxStream<'static, Option<Bytes>>;

/// The stage that the work has reached, and heartbeats for so long, the first one at once.
fn heartbeats(whole: Duration) -> Pieces {
    if whole.is_zero() {
        return stream::empty().boxed();
    }
    let until = tokio::time::Instant::now() + whole;
    let running = Line::Progress {
        stage: Stage::Running,
    };
    let heartbeats = stream::unfold(Some(Duration::ZERO), move |pause| async move {
        tokio::time::sleep(pause?).await;
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() {
            return None;
        }
        Some((
            Some(line(&Line::Heartbeat)),
            Some(left.min(HEARTBEAT_INTERVAL)),
        ))
    });
    stream::iter([Some(line(&running))])
        .chain(heartbeats)
        .boxed()
}

/// `wait`: what the attempt says that it has cost.
fn ending(answer: Answer, model: &str, wait: Duration, shared: Arc<Shared>) -> Pieces {
    let result = |result| Line::Result {
        result,
        model: ServedModel {
            name: model.to_owned(),
            revision: "scripted".to_owned(),
        },
        timings: Timings {
            batch_size: 1,
            cost_micros: u64::try_from(wait.as_micros()).ok(),
            ..Timings::default()
        },
        answered: None,
    };
    let once = |piece: Option<Bytes>| stream::once(async move { piece }).boxed();
    match answer {
        Answer::Caption(caption) => once(Some(line(&result(InferResult::Caption(caption))))),
        Answer::Labels(count) => {
            let labels = (0..count).map(|number| Classification {
                label: format!("label number {number:06}, one of a long and tedious list"),
                score: 0.5,
            });
            let labels = InferResult::Predictions(labels.collect());
            once(Some(line(&result(labels))))
        }
        Answer::Problem(reason, permanent) => {
            let mut problem = Problem::new(reason, "says the script");
            problem.retryable &= !permanent;
            once(Some(line(&Line::Problem(problem))))
        }
        Answer::Garbage => once(Some(Bytes::from_static(b"{\"event\": 7}\n"))),
        Answer::Html => once(Some(Bytes::from_static(b"<html>Bad gateway</html>\n"))),
        Answer::Endless => stream::repeat(Some(Bytes::from_static(&[b'x'; 4096]))).boxed(),
        Answer::Short | Answer::Close => once(None),
        // Answered before.
        Answer::Busy | Answer::Silent => stream::pending().boxed(),
        Answer::Crash => stream::once(async move {
            shared.crash();
            None
        })
        .boxed(),
    }
}

fn line(line: &Line) -> Bytes {
    let mut json = serde_json::to_vec(line).expect("a line is JSON");
    json.push(b'\n');
    json.into()
}

/// hyper drops the connection of a service that panics; `resume_unwind` prints nothing.
pub(crate) fn break_connection() -> ! {
    std::panic::resume_unwind(Box::new("this test breaks the connection"))
}
