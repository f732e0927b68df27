//! One batch, from its plan to its output. While it runs, no other task writes the job's status.

use super::shard::{self, ShardAttempt};
use super::work::{Begin, Work};
use super::{BatchEvent, Place};
use crate::batch::finish;
use crate::batch::plan::{self, Plan, PlanError};
use crate::dispatch::attempt::{Abort, RunnerWas};
use crate::dispatch::folders::{FolderError, Folders};
use crate::dispatch::store_check::StoreCheck;
use crate::dispatch::wire;
use crate::job::decide::{Ending, Placement};
use crate::job::retry;
use crate::job::status::batch::{self as status, Numbers};
use crate::job::write::{StatusWriter, Written};
use crate::metrics::Metrics;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use fovea_crds::{BatchOutput, Failure, InferenceJob};
use fovea_store::{PartMetadata, PartName, Store, StoreError};
use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Interval between looks at what is due.
const TICK: Duration = Duration::from_secs(1);

/// Shortest interval between two writes of the status.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Heartbeats on their way.
const BEATS: usize = 256;

/// Concurrent reads of what parts say of themselves.
const READS: usize = 16;

/// Parts that are read between two turns of the loop.
const READS_AT_ONCE: usize = 64;

/// Time that the copying of finished parts may take once the batch was cancelled or has failed.
const COPY_LIMIT: Duration = Duration::from_mins(2);

/// Failures of the store after which the status says that it is waited for.
const SHOW_OUTAGE_AFTER: u32 = 3;

/// Waits after failures of the object store.
const WAITS: ExponentialBuilder = ExponentialBuilder::new()
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
    pub writer: StatusWriter,
    pub store: Store,
    pub store_check: Arc<StoreCheck>,
    pub metrics: Arc<Metrics>,
}

/// Why a batch ends or pauses before it is done.
enum Halt {
    /// It ends without the rest.
    End(Ending),
    /// Nothing is written: the job is gone or has ended.
    Drop,
    /// A write of the status found that the job has ended, or that nothing is known of it.
    Written(Written),
    /// `spec.suspend`.
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
type Described = Vec<(PartName, Result<Option<PartMetadata>, StoreError>)>;

impl BatchRun {
    /// Runs the batch to its end, or until it is suspended.
    pub(super) async fn run(mut self, mut abort: oneshot::Receiver<Abort>) -> Written {
        let began = Timestamp::now();
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
            Ok((plan, parts)) => Work::new(plan, parts, began),
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

    /// What a former leader has done; `None` if there is no plan. Failures of the store are tried again.
    async fn done_before(&self, began: Timestamp) -> Option<Work> {
        let mut waits = WAITS.build();
        loop {
            let done = async {
                let Some(plan) = plan::read(&self.store, &self.uid).await? else {
                    return Ok(None);
                };
                let parts = self.store.parts(&self.uid).await?;
                Ok::<_, StoreError>(Some(Work::new(plan, parts, began)))
            };
            match done.await {
                Ok(work) => return work,
                Err(error) => {
                    tracing::warn!(uid = self.uid, %error, "the batch's plan cannot be read");
                    sleep(waits.next().unwrap_or(TICK)).await;
                }
            }
        }
    }

    /// The plan, and the parts that exist. Failures of the store are tried again.
    async fn plan(&mut self, began: Timestamp) -> Result<(Plan, Vec<PartName>), Halt> {
        let (mut waits, mut failures) = (WAITS.build(), 0);
        loop {
            if self.wishes.borrow_and_update().spec.suspend {
                return Err(Halt::Suspended);
            }
            match self.try_plan(began).await {
                Ok(planned) => return Ok(planned),
                Err(NotPlanned::Halted(halt)) => return Err(halt),
                Err(NotPlanned::Not(PlanError::Never(failure))) => {
                    return Err(Halt::End(Ending::Failed(failure)));
                }
                Err(NotPlanned::Not(PlanError::Store(error))) => {
                    tracing::warn!(uid = self.uid, %error, "the batch is not planned yet");
                    failures += 1;
                    if failures == SHOW_OUTAGE_AFTER {
                        self.write_planning(began, Some(&error.to_string())).await?;
                    }
                    sleep(waits.next().unwrap_or(TICK)).await;
                }
            }
        }
    }

    async fn try_plan(&mut self, began: Timestamp) -> Result<(Plan, Vec<PartName>), NotPlanned> {
        self.check_folder().await?;
        let plan = if let Some(plan) = plan::read(&self.store, &self.uid).await? {
            plan
        } else {
            let written = self.write_planning(began, None).await;
            written.map_err(NotPlanned::Halted)?;
            let probed = finish::probe(&self.store, &self.uid).await?;
            probed.map_err(PlanError::Never)?;
            plan::make(&self.store, self.batch()?, |_| {}).await?
        };
        let parts = self.store.parts(&self.uid).await?;
        Ok((plan, parts))
    }

    /// What plan and output need of the job.
    fn batch(&self) -> Result<plan::Batch<'_>, PlanError> {
        let spec = &self.job.spec;
        let missing = || {
            PlanError::Never(Failure {
                reason: "InvalidInput".to_owned(),
                message: "a batch needs spec.output: create a new InferenceJob".to_owned(),
                retryable: false,
            })
        };
        let status = self.job.status.as_ref();
        Ok(plan::Batch {
            uid: &self.uid,
            namespace: self.job.metadata.namespace.as_deref().unwrap_or_default(),
            name: self.job.metadata.name.as_deref().unwrap_or_default(),
            task: wire::task(spec.task),
            model: status.and_then(|status| status.model.as_ref()),
            input: &spec.input,
            output: spec.output.as_ref().ok_or_else(missing)?,
        })
    }

    async fn check_folder(&self) -> Result<(), PlanError> {
        match self.folders.check(&self.job).await {
            Ok(()) => Ok(()),
            Err(FolderError::NotOwned(failure)) => Err(PlanError::Never(failure)),
            Err(FolderError::Store(error)) => Err(PlanError::Store(error)),
            Err(error @ FolderError::Namespace(_)) => {
                Err(PlanError::Store(StoreError::Unavailable(error.to_string())))
            }
        }
    }

    /// Writes that the batch is being planned; `why` it could not be yet.
    async fn write_planning(&mut self, began: Timestamp, why: Option<&str>) -> Result<(), Halt> {
        let pool = self.placement.pool.clone();
        let make = |job: &InferenceJob| status::planning(job, &pool, began, why, Timestamp::now());
        let written = self.writer.write(self.job.clone(), make).boxed().await;
        self.took(written)
    }

    /// Goes on with the job as it was written.
    fn took(&mut self, written: Written) -> Result<(), Halt> {
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
        let mut writing: Option<BoxFuture<'static, Written>> = None;
        let mut reading: Option<BoxFuture<'static, Described>> = None;
        let mut written_at: Option<Instant> = None;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wishes = Arc::clone(&self.wishes.borrow_and_update());
            if let Some(event) = work.ask_for_places(&self.uid, &wishes.spec) {
                // This fails only where the loop has ended.
                let _ = self.events.send(event);
            }
            if attempts.is_empty() && writing.is_none() {
                if wishes.spec.suspend {
                    return Err(Halt::Suspended);
                }
                if work.progress.is_done() && work.progress.undescribed(1).is_empty() {
                    return Ok(());
                }
            }
            for (place, attempt) in self.begin(work, new.take(), &beats_in) {
                attempts.push(run_on(place, attempt, Arc::clone(&self.store_check)));
            }
            if let Some(failure) = work.too_many_failed(&wishes.spec) {
                return Err(Halt::End(Ending::Failed(failure)));
            }
            if reading.is_none() {
                let undescribed = work.progress.undescribed(READS_AT_ONCE);
                if !undescribed.is_empty() {
                    reading = Some(describe(self.store.clone(), self.uid.clone(), undescribed));
                }
            }
            tokio::select! {
                biased;
                reason = &mut *abort => return Err(reason.into()),
                Some(written) = OptionFuture::from(writing.as_mut()) => {
                    writing = None;
                    self.took(written)?;
                }
                Some((attempt, ended, place)) = attempts.next() => {
                    drop(place);
                    if let Err(failure) = work.ended(attempt, ended, &self.job.spec, &self.metrics) {
                        return Err(Halt::End(Ending::Failed(failure)));
                    }
                }
                Some((attempt, beat)) = beats.recv() => work.progress.beat(attempt, beat),
                Some(place) = self.places.recv() => new = Some(place),
                Some(described) = OptionFuture::from(reading.as_mut()) => {
                    reading = None;
                    if work.describe(described).is_err() {
                        sleep(TICK).await;
                    }
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
    ) -> Vec<(Place, ShardAttempt)> {
        let begun = work.take_all(&self.uid, &self.job.spec, new).into_iter();
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
                finish,
                beats: beats.clone(),
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
            let make =
                |job: &InferenceJob| status::running(job, &pool, began, &numbers, Timestamp::now());
            writer.write(job, make).await
        })
    }

    /// Copies the parts to the output, again until the store takes them. An error is final.
    async fn output(&self, work: &mut Work, complete: bool) -> Result<BatchOutput, Failure> {
        let mut waits = WAITS.build();
        loop {
            match self.try_output(work, complete).await {
                Ok(output) => return Ok(output),
                Err(PlanError::Never(failure)) => return Err(failure),
                Err(PlanError::Store(StoreError::Config(message))) => {
                    return Err(Failure {
                        reason: "OutputNotWritten".to_owned(),
                        message,
                        retryable: true,
                    });
                }
                Err(PlanError::Store(error)) => {
                    tracing::warn!(uid = self.uid, %error, "the batch's parts are not copied yet");
                    sleep(waits.next().unwrap_or(TICK)).await;
                }
            }
        }
    }

    async fn try_output(&self, work: &mut Work, complete: bool) -> Result<BatchOutput, PlanError> {
        let undescribed = work.progress.undescribed(usize::MAX);
        let described = describe(self.store.clone(), self.uid.clone(), undescribed).await;
        work.describe(described)?;
        let parts = work.progress.parts();
        let finished = finish::finish(&self.store, self.batch()?, &work.plan, &parts, complete);
        Ok(finished.boxed().await?)
    }

    async fn succeed(&self, work: &mut Work, output: BatchOutput) -> Written {
        let (numbers, began) = (work.numbers(), work.began);
        let pool = &self.placement.pool;
        let make = |job: &InferenceJob| {
            status::succeeded(job, pool, began, &numbers, output.clone(), Timestamp::now())
        };
        self.writer.write(self.job.clone(), make).boxed().await
    }

    /// Writes how the batch ends, or pauses, before it is done. `work`: what was done until then.
    async fn halted(&self, halt: Halt, work: Option<Work>) -> Written {
        let ending = match halt {
            Halt::Drop => return Written::Unchanged,
            Halt::Written(written) => return written,
            Halt::Suspended => {
                let numbers = work.map(|mut work| work.numbers());
                let make =
                    |job: &InferenceJob| status::paused(job, numbers.as_ref(), Timestamp::now());
                return self.writer.write(self.job.clone(), make).boxed().await;
            }
            Halt::End(ending) => ending,
        };
        let (mut numbers, mut output) = (None, None);
        if let Some(mut work) = work {
            work.progress.stop();
            if !work.progress.has_parts() {
                numbers = Some(work.numbers());
            } else if let Ok(Ok(copied)) = timeout(COPY_LIMIT, self.output(&mut work, false)).await
            {
                output = Some(copied);
                numbers = Some(work.numbers());
            }
        }
        let make = |job: &InferenceJob| {
            let (numbers, output) = (numbers.as_ref(), output.clone());
            status::ended(job, numbers, output, &ending, Timestamp::now())
        };
        self.writer.write(self.job.clone(), make).boxed().await
    }
}

/// Why there is no plan.
enum NotPlanned {
    Not(PlanError),
    Halted(Halt),
}

impl<E: Into<PlanError>> From<E> for NotPlanned {
    fn from(error: E) -> Self {
        Self::Not(error.into())
    }
}

/// Reads what parts say of themselves.
fn describe(store: Store, uid: String, parts: Vec<PartName>) -> BoxFuture<'static, Described> {
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
    (number, outcome, place)
}
