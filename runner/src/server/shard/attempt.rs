//! Supervises one attempt at a shard: reads the orders, sends the lines, and ends it in time.

use super::ask::Uploads;
use super::orders::{Ended, Orders};
use super::{Shard, archive, part, pictures};
use fovea_protocol::{
    HEARTBEAT_INTERVAL, Order, Problem, Progress, Reason, SILENCE_LIMIT, ShardLine, ShardOf,
    ShardRequest,
};
use fovea_telemetry::trace::TraceParent;
use futures::Stream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument as _;

/// Upper bound on lines buffered for a slow reader.
pub(super) const LINES_BOUND: usize = 8;

/// Starts the attempt. It ends with the last line, or soon after its reader disconnects.
pub(super) fn start(
    shard: Shard,
    orders: Orders,
    lines: mpsc::Sender<ShardLine>,
    stream: mpsc::Receiver<ShardLine>,
    caller: Option<TraceParent>,
) -> impl Stream<Item = ShardLine> + Send + 'static {
    let ShardRequest {
        job,
        shard: number,
        attempt,
        from,
        model,
        ..
    } = &shard.request;
    let span = tracing::info_span!("shard", job, number, attempt, from, model);
    if let Some(caller) = caller {
        caller.adopt(&span);
    }
    tokio::spawn(run(Arc::new(shard), orders, lines).instrument(span));
    ReceiverStream::new(stream)
}

/// Runs the attempt and sends a heartbeat at once, then every [`HEARTBEAT_INTERVAL`], then the end.
async fn run(shard: Arc<Shard>, mut orders: Orders, lines: mpsc::Sender<ShardLine>) {
    let Some(mut end) = supervise(&shard, &mut orders, &lines).await else {
        tracing::info!("the operator disconnected; the attempt is cancelled");
        return;
    };
    let metrics = &shard.app.metrics;
    let (name, took) = (&shard.model.name, shard.arrived.elapsed());
    let spent = Some(shard.admission.spent().micros());
    match &mut end {
        ShardLine::Done {
            part,
            stopped,
            cost_micros,
            ..
        } => {
            *cost_micros = spent;
            metrics.shard_attempt(name, None);
            let stopped = stopped.as_ref().map(|problem| &problem.detail);
            tracing::info!(
                part.to,
                part.succeeded,
                part.failed,
                ?stopped,
                ?took,
                "part written"
            );
        }
        ShardLine::Problem(problem) => {
            problem.cost_micros = spent;
            metrics.shard_attempt(name, Some(problem.reason));
            let (reason, detail) = (problem.reason, &problem.detail);
            tracing::warn!(?reason, detail, ?took, "attempt failed");
        }
        _ => {}
    }
    // Frees the slot before the operator can know that it is over.
    drop(shard);
    // An error means that the operator disconnected.
    let _ = lines.send_timeout(end, SILENCE_LIMIT).await;
    drop(lines);
    orders.drain(SILENCE_LIMIT).await;
}

/// The last line; `None` if nobody reads it.
async fn supervise(
    shard: &Arc<Shard>,
    orders: &mut Orders,
    lines: &mpsc::Sender<ShardLine>,
) -> Option<ShardLine> {
    let Shard {
        app,
        admission,
        stop,
        arrived,
        ..
    } = &**shard;
    let abort = &admission.abort;
    let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Dropped on return, and everything that it has begun with it.
    let mut work = std::pin::pin!(work(shard));
    let mut deadline_passes = std::pin::pin!(tokio::time::sleep_until(shard.deadline));
    let mut finish = std::pin::pin!(tokio::time::sleep_until(shard.finish_at));
    loop {
        tokio::select! {
            biased;
            problem = abort.aborted() => return Some(ShardLine::Problem(problem)),
            () = lines.closed() => {
                abort.abort(Reason::Unknown, "the operator disconnected");
                return None;
            }
            () = &mut deadline_passes => {
                let limit = shard.deadline - *arrived;
                let why = format!("the attempt exceeded its deadline of {limit:?}");
                abort.abort(Reason::DeadlineExceeded, &why);
            }
            _ = heartbeat.tick() => {
                // The buffer of lines stays full if the operator does not read.
                let progress = shard.progress.read(admission.spent().micros());
                let line = ShardLine::Heartbeat(Progress {
                    reused: shard.reuse.count().min(progress.succeeded),
                    ..progress
                });
                if lines.send_timeout(line, SILENCE_LIMIT).await.is_err() {
                    abort.abort(Reason::Unknown, "the operator stopped reading");
                    return None;
                }
            }
            order = orders.next() => match order.map(|order| obey(shard, order)) {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => abort.abort(problem.reason, &problem.detail),
                Err(Ended::Gone) => {
                    abort.abort(Reason::Unknown, "the operator has closed the request");
                    return None;
                }
                Err(ended) => abort.abort(Reason::MalformedRequest, &ended.to_string()),
            },
            () = app.drain.cancelled(), if !stop.is_stopped() => stop.stop(app.draining()),
            () = &mut finish, if !stop.is_stopped() => stop.stop(None),
            end = &mut work => return Some(end),
        }
    }
}

fn obey(shard: &Shard, order: Order) -> Result<(), Problem> {
    match order {
        Order::Items {
            first,
            items,
            lifetime_millis,
        } => (shard.ask).offer(first, items, Duration::from_millis(lifetime_millis)),
        Order::Part {
            formatted,
            rows,
            answers,
        } => shard.ask.upload(Uploads {
            formatted,
            rows,
            answers,
        }),
        Order::Answers { answers } => shard.ask.answered(answers),
        Order::Finish => {
            shard.stop.stop(None);
            Ok(())
        }
        Order::Shard(_) => Err(Problem::new(
            Reason::MalformedRequest,
            "there is a second shard in one request",
        )),
    }
}

async fn work(shard: &Arc<Shard>) -> ShardLine {
    tokio::select! {
        end = collect(shard) => end,
        problem = shard.reuse.ask_all(&shard.ask) => ShardLine::Problem(problem),
    }
}

async fn collect(shard: &Arc<Shard>) -> ShardLine {
    let collected = match shard.request.of {
        ShardOf::Pictures => pictures::collect(shard).await,
        ShardOf::Archive => archive::collect(shard).await,
    };
    match collected {
        Ok(collected) => part::commit(shard, collected).await,
        Err(problem) => ShardLine::Problem(problem),
    }
}
