//! One batch, from its plan to its output. While it runs, no other task writes the job's status.

use super::shard::{self, ShardAttempt};
use super::work::{Begin, Work};
use super::{BatchEvent, Place};
use crate::batch::plan::Plan;
use crate::dispatch::attempt::{Abort, RunnerWas};
use crate::dispatch::folders::Folders;
use crate::dispatch::store_check::StoreCheck;
use crate::job::decide::{Ending, Placement};
use crate::job::retry;
use crate::job::status::batch::{self as status, Numbers};
use crate::job::write::{StatusWriter, Written};
use crate::metrics::Metrics;
use crate::reuse::Answers;
use crate::store_probe::StoreFindings;
use backon::ExponentialBuilder;
use fovea_crds::InferenceJob;
use fovea_store::{PartMetadata, PartName, Store, StoreError};
use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Interval between looks at what is due.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Shortest interval between two writes of the status.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Heartbeats on their way.
const BEATS: usize = 256;

/// Concurrent reads of what parts say of themselves.
const READS: usize = 16;

/// Parts that are read between two turns of the loop.
const READS_AT_ONCE: usize = 64;

/// Time that the copying of finished parts may take once the batch was cancelled or has failed.
pub(super) const COPY_LIMIT: Duration = Duration::from_mins(2);

/// Time that attempts have to end, with what they have done, once the batch is to end.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Waits after failures of the object store.
pub(super) const WAITS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(Duration::from_secs(30))
    .with_jitter()
    .without_max_times();

/// A batch that is under way.
pub(super) struct BatchRun {
    pub uid: String,
    /// As it was written last.
    pub job: InferenceJob,
    /// As its user wants it.
    pub wishes: watch::Receiver<Arc<InferenceJob>>,
    pub placement: Placement,
    pub places: mpsc::Receiver<Place>,
    pub events: mpsc::UnboundedSender<BatchEvent>,
    /// It is only to be ended, with what a former leader has done.
    pub ending: Option<Ending>,
    pub folders: Arc<Folders>,
    pub answers: Arc<Answers>,
    pub writer: StatusWriter,
    pub store: Store,
    pub store_check: Arc<StoreCheck>,
    pub findings: StoreFindings,
    pub metrics: Arc<Metrics>,
}

/// Why a batch ends or pauses before it is done.
pub(super) enum Halt {
    /// It ends without the rest.
    End(Ending),
    /// Nothing is written: the job is gone or has ended.
    Drop,
    /// A write of the status found that the job has ended, or that nothing is known of it.
    Written(Written),
    /// `spec.suspend`, or a mark of a restore.
    Suspended,
}

impl From<Result<Abort, oneshot::error::RecvError>> for Halt {
    fn from(abort: Result<Abort, oneshot::error::RecvError>) -> Self {
        match abort {
            Ok(Abort::End(ending)) => Self::End(ending),
            Ok(Abort::Drop) | Err(_) => Self::Drop,
        }
    }
}

/// What parts say of themselves.
pub(super) type Described = Vec<(PartName, Result<Option<PartMetadata>, StoreError>)>;

impl BatchRun {
    /// Runs the batch to its end, or until it is suspended.
    pub(super) async fn run(mut self, mut abort: oneshot::Receiver<Abort>) -> Written {
        let began = crate::time::now();
        if let Some(ending) = self.ending.clone() {
            let work = timeout(COPY_LIMIT, self.done_before(began)).await;
            return self
                .halted(Halt::End(ending), work.unwrap_or_default())
                .await;
        }
        let planned = tokio::select! {
            biased;
            reason = &mut abort => Err(reason.into()),
            planned = self.plan(began) => planned,
        };
        let mut work = match planned {
            Ok((plan, parts)) => self.work_of(plan, parts, began),
            Err(halt) => return self.halted(halt, None).await,
        };
        match self.work(&mut work, &mut abort).await {
            Ok(()) => {
                let finished = tokio::select! {
                    biased;
                    reason = &mut abort => Err(Halt::from(reason)),
                    output = self.output(&mut work, true) => {
                        output.map_err(|failure| Halt::End(Ending::Failed(failure)))
                    }
                };
                match finished {
                    Ok(output) => self.succeed(&mut work, output).await,
                    Err(halt) => self.halted(halt, Some(work)).await,
                }
            }
            Err(halt) => self.halted(halt, Some(work)).await,
        }
    }

    /// Goes on with the job as it was written.
    pub(super) fn took(&mut self, written: Written) -> Result<(), Halt> {
        match written {
            Written::Current(job) if !job.is_finished() => {
                self.job = *job;
                Ok(())
            }
            Written::Unchanged => Ok(()),
            ended => Err(Halt::Written(ended)),
        }
    }

    /// Has attempts made until every picture has its row.
    async fn work(
        &mut self,
        work: &mut Work,
        abort: &mut oneshot::Receiver<Abort>,
    ) -> Result<(), Halt> {
        let (beats_in, mut beats) = mpsc::channel(BEATS);
        let mut attempts = FuturesUnordered::new();
        let mut new: Option<Place> = None;
        // Once the batch is to end, what is under way is told to finish, until this time.
        let mut ending: Option<(Ending, Instant)> = None;
        let mut aborted = false;
        let end = |ending| Some((ending, Instant::now() + END_LIMIT));
        // After a failure of the store parts are read again later.
        let mut pause = Duration::ZERO;
        let mut writing: Option<BoxFuture<'static, Written>> = None;
        let mut reading: Option<BoxFuture<'static, Described>> = None;
        let mut written_at: Option<Instant> = None;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wishes = Arc::clone(&self.wishes.borrow_and_update());
            let is_ending = ending.is_some();
            let stops = is_ending || wishes.is_held();
            if let Some(event) = work.ask_for_places(&self.uid, &wishes.spec, stops) {
                // This fails only where the loop has ended.
                let _ = self.events.send(event);
            }
            if ending.is_none()
                && let Some(failure) = work.too_many_failed(&wishes.spec)
            {
                ending = end(Ending::Failed(failure));
                continue;
            }
            if attempts.is_empty() && writing.is_none() {
                if let Some((ending, _)) = ending {
                    return Err(Halt::End(ending));
                }
                if wishes.is_held() {
                    return Err(Halt::Suspended);
                }
                if work.progress.is_done() && work.progress.undescribed(1).is_empty() {
                    return Ok(());
                }
            }
            for (place, attempt) in self.begin(work, new.take(), &beats_in, is_ending) {
                attempts.push(run_on(place, attempt, Arc::clone(&self.store_check)));
            }
            if reading.is_none() {
                let undescribed = work.progress.undescribed(READS_AT_ONCE);
                if !undescribed.is_empty() {
                    let read = describe(self.store.clone(), self.uid.clone(), undescribed);
                    reading = Some(sleep(pause).then(|()| read).boxed());
                }
            }
            tokio::select! {
                biased;
                reason = &mut *abort, if !aborted => {
                    aborted = true;
                    match Halt::from(reason) {
                        Halt::End(by_user) => ending = end(by_user),
                        halt => return Err(halt),
                    }
                }
                Some(ending) = OptionFuture::from(ending.as_ref().map(ends)) => {
                    return Err(Halt::End(ending));
                }
                Some(written) = OptionFuture::from(writing.as_mut()) => {
                    writing = None;
                    self.took(written)?;
                }
                Some((attempt, ended, place)) = attempts.next() => {
                    drop(place);
                    let ended = work.ended(attempt, ended, &self.job.spec, &self.metrics);
                    if let (Err(failure), None) = (ended, &ending) {
                        ending = end(Ending::Failed(failure));
                    }
                }
                Some((attempt, beat)) = beats.recv() => work.progress.beat(attempt, beat),
                Some(place) = self.places.recv() => new = Some(place),
                Some(described) = OptionFuture::from(reading.as_mut()) => {
                    reading = None;
                    let failed = work.describe(described).is_err();
                    pause = if failed { TICK } else { Duration::ZERO };
                }
                Ok(()) = self.wishes.changed() => {}
                _ = tick.tick() => {
                    let is_due = written_at.is_none_or(|at| at.elapsed() >= WRITE_EVERY);
                    if let Some(numbers) = work.measure(is_due && writing.is_none()) {
                        written_at = Some(Instant::now());
                        writing = Some(self.write_running(work.began, numbers));
                    }
                }
            }
        }
    }

    /// The attempts to make on the places that wait, and on the new one.
    fn begin(
        &self,
        work: &mut Work,
        new: Option<Place>,
        beats: &mpsc::Sender<(u32, fovea_protocol::Progress)>,
        is_ending: bool,
    ) -> Vec<(Place, ShardAttempt)> {
        let begun = work.take_all(&self.uid, &self.job.spec, new, is_ending);
        let begun = begun.into_iter();
        let attempts = begun.map(|(place, begin)| {
            let Begin {
                request,
                range,
                finish,
            } = begin;
            let attempt = ShardAttempt {
                job: Arc::new(self.job.clone()),
                runner: place.chosen.client.clone(),
                request,
                range,
                plan: Arc::clone(&work.plan),
                store: self.store.clone(),
                folders: Arc::clone(&self.folders),
                answers: Arc::clone(&self.answers),
                finish,
                beats: beats.clone(),
                spent: Arc::clone(&place.spent),
            };
            (place, attempt)
        });
        attempts.collect()
    }

    fn write_running(&self, began: Timestamp, numbers: Numbers) -> BoxFuture<'static, Written> {
        let (writer, job, pool) = (
            self.writer.clone(),
            self.job.clone(),
            self.placement.pool.clone(),
        );
        Box::pin(async move {
            let make = |job: &InferenceJob| {
                status::running(job, &pool, began, &numbers, crate::time::now())
            };
            writer.write(job, make).await
        })
    }

    pub(super) fn work_of(&self, plan: Plan, parts: Vec<PartName>, began: Timestamp) -> Work {
        let status = self.job.status.as_ref();
        let interruptions = status.map_or(0, |status| status.interruptions);
        Work::new(plan, parts, began, interruptions)
    }
}

/// Resolves with the ending once its time has come.
async fn ends((ending, by): &(Ending, Instant)) -> Ending {
    sleep_until((*by).into()).await;
    ending.clone()
}

/// Reads what parts say of themselves.
pub(super) fn describe(
    store: Store,
    uid: String,
    parts: Vec<PartName>,
) -> BoxFuture<'static, Described> {
    Box::pin(async move {
        stream::iter(parts)
            .map(|part| {
                let (store, uid) = (store.clone(), uid.clone());
                async move { (part, store.part_metadata(&uid, part).await) }
            })
            .buffer_unordered(READS)
            .collect()
            .await
    })
}

/// Makes an attempt in a task of its own.
async fn run_on(
    mut place: Place,
    attempt: ShardAttempt,
    store_check: Arc<StoreCheck>,
) -> (u32, shard::Outcome, Place) {
    let number = attempt.request.attempt;
    let running = tokio::spawn(async move { attempt.run(&store_check).await });
    let outcome = AbortOnDropHandle::new(running).await;
    let outcome = outcome.unwrap_or_else(|error| shard::Outcome::Lost(error.to_string()));
    place.was = match &outcome {
        shard::Outcome::Lost(_) | shard::Outcome::NotBegun(_) => RunnerWas::Unavailable,
        shard::Outcome::Problem(problem, _) if retry::is_refusal(problem.reason) => {
            RunnerWas::Unavailable
        }
        _ => RunnerWas::Fine,
    };
    place.is_used = match &outcome {
        shard::Outcome::NotBegun(_) => false,
        shard::Outcome::Problem(problem, _) => !retry::is_refusal(problem.reason),
        _ => true,
    };
    (number, outcome, place)
}
