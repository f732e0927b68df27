//! Runs one attempt, from picture to result, and streams its lines.

use super::admission::Admission;
use super::preprocess::preprocess;
use super::question::{question, sha256};
use super::state::App;
use crate::engine::{Class, Done, Served, Work, gone};
use crate::inference::{Item, Query};
use crate::metrics::MeasuredStage;
use fovea_protocol::{
    Answered, HEARTBEAT_INTERVAL, InferRequest, Line, Problem, Reason, SILENCE_LIMIT, ServedModel,
    Stage, Timings,
};
use fovea_telemetry::trace::TraceParent;
use futures::Stream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument as _;

/// Upper bound on lines buffered for a slow reader.
const LINES_BOUND: usize = 8;

pub(super) struct Attempt {
    pub(super) admission: Arc<Admission>,
    pub(super) arrived: Instant,
    pub(super) deadline: Instant,
    pub(super) model: Arc<Served>,
    pub(super) query: Query,
    pub(super) request: InferRequest,
    /// The operator's trace context, the parent of this attempt's span.
    pub(super) caller: Option<TraceParent>,
}

/// Starts the attempt. It ends with the last line, or soon after its reader disconnects.
pub(super) fn start(app: Arc<App>, attempt: Attempt) -> impl Stream<Item = Line> + Send + 'static {
    let (lines, stream) = mpsc::channel(LINES_BOUND);
    let InferRequest {
        job,
        attempt: number,
        model,
        ..
    } = &attempt.request;
    let span = tracing::info_span!("attempt", job, number, model);
    if let Some(caller) = attempt.caller {
        caller.adopt(&span);
    }
    tokio::spawn(run(app, attempt, lines).instrument(span));
    ReceiverStream::new(stream)
}

/// Runs the attempt and sends a heartbeat at once, then every [`HEARTBEAT_INTERVAL`], then the end.
async fn run(app: Arc<App>, attempt: Attempt, lines: mpsc::Sender<Line>) {
    let Attempt {
        arrived, deadline, ..
    } = attempt;
    let abort = attempt.admission.abort.clone();
    let spent = attempt.admission.spent().clone();
    let name = attempt.model.name.clone();
    let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut end = {
        // Dropped with this block, and the slot with it where nothing else holds it: before the
        // caller can know that it is over.
        let mut work = std::pin::pin!(work(&app, attempt, &lines));
        let mut deadline_passes = std::pin::pin!(tokio::time::sleep_until(deadline));
        loop {
            tokio::select! {
                biased;
                problem = abort.aborted() => break Line::Problem(problem),
                () = lines.closed() => {
                    abort.abort(Reason::Unknown, "the client disconnected");
                    tracing::info!("the client disconnected; the attempt is cancelled");
                    return;
                }
                () = &mut deadline_passes => {
                    let why = format!("the attempt exceeded its deadline of {:?}", deadline - arrived);
                    abort.abort(Reason::DeadlineExceeded, &why);
                }
                end = &mut work => break end,
                _ = heartbeat.tick() => {
                    // The buffer of lines stays full if the client does not read.
                    if lines.send_timeout(Line::Heartbeat, SILENCE_LIMIT).await.is_err() {
                        abort.abort(Reason::Unknown, "the client stopped reading");
                        return;
                    }
                }
            }
        }
    };
    if let Line::Problem(problem) = &mut end {
        problem.cost_micros = Some(spent.micros());
        app.metrics.attempt(&name, Some(problem.reason));
        tracing::warn!(reason = ?problem.reason, detail = problem.detail, "attempt failed");
    } else {
        app.metrics.attempt(&name, None);
        tracing::info!(took = ?arrived.elapsed(), "attempt succeeded");
    }
    // An error means that the client disconnected.
    let _ = lines.send_timeout(end, SILENCE_LIMIT).await;
}

async fn work(app: &Arc<App>, attempt: Attempt, lines: &mpsc::Sender<Line>) -> Line {
    let ended = stages(app, attempt, lines).await;
    ended.unwrap_or_else(Line::Problem)
}

/// Runs an attempt through its stages: fetch, decode, queue, run. Returns the result's line.
async fn stages(
    app: &Arc<App>,
    attempt: Attempt,
    lines: &mpsc::Sender<Line>,
) -> Result<Line, Problem> {
    let Attempt {
        admission,
        arrived,
        deadline: _,
        model,
        query,
        request,
        caller: _,
    } = attempt;
    let measure = |stage, took| app.metrics.stage(&model.name, stage, took);
    let spent = admission.spent().clone();

    progress(lines, Stage::Fetching).await;
    let bytes = app.fetcher.fetch(&request.input).await?;
    let fetched = Instant::now();
    measure(MeasuredStage::Fetch, fetched - arrived);

    let picture = if request.reuse {
        Some(sha256(bytes.clone()).await?)
    } else {
        None
    };
    let pixels = preprocess(app, bytes, &model.front, Arc::clone(&admission)).await?;
    let preprocess_took = fetched.elapsed();
    measure(MeasuredStage::Preprocess, preprocess_took);

    let picture_size = pixels.picture_size();
    let item = Item {
        pixels,
        query: query.clone(),
    };
    let queued = Instant::now();
    let (started, has_started) = oneshot::channel();
    let (reply, done) = oneshot::channel();
    let work = Work {
        model: Arc::clone(&model),
        class: Class::Single,
        key: model.front.batch_key(&item),
        item,
        exclusive: request.exclusive,
        cancel: admission.abort.token.clone(),
        started,
        reply,
        hold: admission,
        ticket: app.metrics.queue(&model.name),
    };
    app.engine.submit(work).await?;
    progress(lines, Stage::Queued).await;
    // An error means that the engine has ended; the reply reports that.
    let _ = has_started.await;
    let waited = queued.elapsed();
    measure(MeasuredStage::Queue, waited);
    progress(lines, Stage::Running).await;
    let running = Instant::now();
    let done = done.await.map_err(|_| gone())?;
    spent.add((done.as_ref()).map_or_else(|_| running.elapsed(), |done| done.share));
    let Done {
        answer,
        took,
        share: _,
        batch_size,
    } = done?;
    measure(MeasuredStage::Infer, took);

    let timings = Timings {
        fetch_millis: millis(fetched - arrived),
        queue_millis: millis(waited),
        infer_millis: millis(preprocess_took + took),
        batch_size: u32::try_from(batch_size).unwrap_or(u32::MAX),
        cost_micros: Some(spent.micros()),
    };
    let result = (model.front.head).result(&query, answer, picture_size)?;
    let question = picture.and_then(|picture| question(&model, &query, &picture));
    let (width, height) = picture_size;
    let answered = question.map(|question| Answered {
        question,
        width,
        height,
    });
    let model = ServedModel {
        name: model.name.clone(),
        revision: model.revision().unwrap_or_default(),
    };
    Ok(Line::Result {
        result,
        model,
        timings,
        answered,
    })
}

/// Sends progress; a disconnected reader is detected elsewhere.
async fn progress(lines: &mpsc::Sender<Line>, stage: Stage) {
    let _ = lines.send(Line::Progress { stage }).await;
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
