//! `POST /v1/shards`: attempts at shards of batches.
//!
//! [`attempt`] supervises one: it reads the operator's [`orders`] and sends heartbeats, while [`pictures`]
//! or [`archive`] runs every [`item`] of the range, many at once, and [`part`] writes their [`rows`].

mod archive;
mod ask;
mod attempt;
mod format;
mod item;
mod orders;
mod part;
mod pictures;
mod reuse;
mod rows;
mod stop;

use super::admission::Admission;
use super::infer::{BODY_TIMEOUT, bounded, ready_model};
use super::installations::Sender;
use super::reply::{lines_response, problem_response};
use super::state::App;
use crate::engine::Served;
use crate::inference::Query;
use ask::Ask;
use attempt::LINES_BOUND;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use fovea_protocol::{Order, Problem, Reason, SILENCE_LIMIT, ShardLine, ShardOf, ShardRequest};
use fovea_telemetry::trace::TraceParent;
use futures::Stream;
use http::HeaderMap;
use orders::Orders;
use reuse::Reuse;
use std::sync::Arc;
use stop::{Progressing, Stop};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// One attempt.
struct Shard {
    app: Arc<App>,
    admission: Arc<Admission>,
    model: Arc<Served>,
    /// The parameters of pictures that have none of their own.
    query: Query,
    request: ShardRequest,
    ask: Ask,
    reuse: Reuse,
    stop: Stop,
    progress: Progressing,
    arrived: Instant,
    finish_at: Instant,
    deadline: Instant,
}

/// `POST /v1/shards`: answers with a problem, or with the lines of one attempt, while the request's body
/// goes on with the operator's.
pub(super) async fn shard(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let mut orders = Orders::new(body);
    match admit(&app, &mut orders).await {
        Ok(admitted) => {
            let caller = TraceParent::of(&headers);
            lines_response(start(app, admitted, orders, caller))
        }
        Err(problem) => {
            app.metrics.refusal(problem.reason);
            tokio::spawn(async move { orders.drain(SILENCE_LIMIT).await });
            problem_response(&problem)
        }
    }
}

/// A request that has passed the checks.
struct Admitted {
    request: ShardRequest,
    arrived: Instant,
    model: Arc<Served>,
    query: Query,
    admission: Admission,
}

async fn admit(app: &App, orders: &mut Orders) -> Result<Admitted, Problem> {
    let arrived = Instant::now();
    let malformed = |why: String| Problem::new(Reason::MalformedRequest, why);
    let request = match tokio::time::timeout(BODY_TIMEOUT, orders.next()).await {
        Ok(Ok(Order::Shard(request))) => request,
        Ok(Ok(_)) => return Err(malformed("the first line is not a shard".to_owned())),
        Ok(Err(ended)) => return Err(malformed(ended.to_string())),
        Err(_) => {
            let why = format!("the first line did not arrive within {BODY_TIMEOUT:?}");
            return Err(malformed(why));
        }
    };
    if let Some(problem) = app.draining() {
        return Err(problem);
    }
    (app.admissions).observe(Sender::of(&request.installation, request.epoch))?;
    let model = ready_model(app, &request.model, request.task)?;
    let query = model.front.head.query(&request.parameters)?;
    if !has_range(&request) {
        return Err(malformed("the range from..to is not one".to_owned()));
    }
    let admission = app.admissions.admit(&request)?;
    Ok(Admitted {
        request,
        arrived,
        model,
        query,
        admission,
    })
}

/// Starts the attempt, and returns its lines.
fn start(
    app: Arc<App>,
    admitted: Admitted,
    orders: Orders,
    caller: Option<TraceParent>,
) -> impl Stream<Item = ShardLine> + Send + 'static {
    let Admitted {
        request,
        arrived,
        model,
        query,
        admission,
    } = admitted;
    let (lines, stream) = mpsc::channel(LINES_BOUND);
    let shard = Shard {
        app,
        admission: Arc::new(admission),
        model,
        query,
        ask: Ask::new(lines.clone()),
        reuse: Reuse::new(),
        stop: Stop::default(),
        progress: Progressing::new(request.from),
        arrived,
        finish_at: arrived + bounded(request.finish_after_millis),
        deadline: arrived + bounded(request.deadline_millis),
        request,
    };
    attempt::start(shard, orders, lines, stream, caller)
}

/// Whether a shard of pictures has a range, and an archive's is none that is reversed.
fn has_range(request: &ShardRequest) -> bool {
    match (request.of, request.to) {
        (ShardOf::Pictures, None) => false,
        (_, to) => to.is_none_or(|to| request.from <= to),
    }
}
