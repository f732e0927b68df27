//! One attempt: one job on one runner, from the request to the written status. While it runs, no other
//! task writes the job's status.

use super::costs::Cost;
use super::folders::Folders;
use super::large::{LargeResult, Unstored};
use super::runners::RunnerClient;
use super::store_check::StoreCheck;
use crate::job::decide::{Ending, Placement};
use crate::job::retry::{self, Next, Outcome, RESULT_NOT_STORED, STORE_UNAVAILABLE, Success};
use crate::job::status::{self, Begun, StoredResult};
use crate::job::write::{StatusWriter, Written};
use crate::metrics::Metrics;
use crate::reuse::Answers;
use crate::trace;
use fovea_crds::{Failure, InferenceJob, InferenceJobStatus};
use fovea_protocol::{LeaderRequest, Reason, Stage};
use fovea_store::Store;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span};

/// The phase Running is written after this time; a shorter attempt saves the write.
const SHOW_RUNNING_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Attempt {
    pub job: InferenceJob,
    pub folders: Arc<Folders>,
    pub answers: Arc<Answers>,
    pub placement: Placement,
    pub runner: RunnerClient,
    /// This leader, as the runner knows it.
    pub leader: LeaderRequest,
    /// Whether the runner has served another job since its start, and now runs only this one.
    pub alone_on_a_proven_runner: bool,
    pub writer: StatusWriter,
    pub store: Store,
    pub store_check: Arc<StoreCheck>,
    pub metrics: Arc<Metrics>,
}

#[derive(Clone, Debug)]
pub(super) enum Abort {
    /// The job was cancelled, or a deadline passed.
    End(Ending),
    /// The job is deleted or has already ended: nothing is written.
    Drop,
}

/// The state of the runner after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunnerWas {
    Fine,
    /// The runner had no free slot or was unreachable: it gets no job before its next health report.
    Unavailable,
}

#[derive(Debug)]
pub(super) struct Done {
    pub uid: String,
    pub after: After,
    pub runner: RunnerWas,
    pub cost: Cost,
}

/// What an ended task leaves.
#[derive(Debug)]
pub(super) enum After {
    Written(Written),
    /// Nothing is written: the job succeeds once this is stored.
    Keep(Box<Unstored>),
}

impl Attempt {
    /// Runs the attempt and writes the status that follows from its outcome.
    pub(super) async fn run(self, abort: oneshot::Receiver<Abort>) -> Done {
        let address = self.runner.address().as_str();
        let (span, traceparent) = trace::attempt(&self.job, self.number(), address);
        Box::pin(self.go(abort, traceparent).instrument(span)).await
    }

    async fn go(self, mut abort: oneshot::Receiver<Abort>, traceparent: Option<String>) -> Done {
        let begun = Begun {
            pool: self.placement.pool.clone(),
            runner: self.runner.address().to_string(),
            at: crate::time::now(),
        };
        let (reached, stage) = watch::channel(Stage::Unknown);
        let asked;
        let conversation = {
            let (runner, task) = (self.runner.clone(), self.job.spec.task);
            let request = match self.request().await {
                Ok(request) => request,
                Err(outcome) => return self.conclude(self.job.clone(), &begun, outcome).await,
            };
            let reuse = self.reuse().await;
            asked = Instant::now();
            AbortOnDropHandle::new(tokio::spawn(async move {
                if let Some(reuse) = &reuse
                    && let Some(success) = reuse.find(&runner, task, &request).await
                {
                    return Outcome::Succeeded(success);
                }
                let outcome = runner.infer(task, &request, traceparent.as_deref(), &reached);
                let outcome = outcome.await;
                if let (Some(reuse), Outcome::Succeeded(success)) = (&reuse, &outcome) {
                    reuse.keep(success);
                }
                outcome
            }))
        };
        tokio::pin!(conversation);
        let mut job = self.job.clone();
        let mut shows_running = status::is_running(&job);
        loop {
            tokio::select! {
                biased;
                reason = &mut abort => {
                    conversation.abort();
                    let why = match &reason {
                        Ok(Abort::End(ending)) => Some(ending),
                        Ok(Abort::Drop) | Err(_) => None,
                    };
                    Span::current().record("outcome", "aborted");
                    self.metrics.attempt("aborted", why.map_or("JobGone", Ending::reason));
                    let cost = Cost::Elapsed(asked.elapsed());
                    let done = match reason {
                        Ok(Abort::End(ending)) => {
                            let ended = self.end(job, &begun, &ending).await;
                            self.done(ended, RunnerWas::Fine)
                        }
                        Ok(Abort::Drop) | Err(_) => self.done(Written::Unchanged, RunnerWas::Fine),
                    };
                    return Done { cost, ..done };
                }
                outcome = &mut conversation => {
                    let outcome = outcome.unwrap_or_else(|error| Outcome::Lost(error.to_string()));
                    let cost = Cost::of(&outcome, asked.elapsed());
                    let done = self.conclude(job, &begun, outcome).await;
                    return Done { cost, ..done };
                }
                () = tokio::time::sleep(SHOW_RUNNING_AFTER), if !shows_running => {
                    shows_running = true;
                    let stage = *stage.borrow();
                    let make =
                        |job: &InferenceJob| status::running(job, &begun, stage, crate::time::now());
                    match self.writer.write(job.clone(), make).await {
                        Written::Current(written) if !written.is_finished() => job = *written,
                        Written::Unchanged => {}
                        ended => {
                            let cost = Cost::Elapsed(asked.elapsed());
                            let done = self.done(ended, RunnerWas::Fine);
                            return Done { cost, ..done };
                        }
                    }
                }
            }
        }
    }

    /// Writes the status that follows from the attempt's outcome, as if it had cost nothing.
    async fn conclude(&self, job: InferenceJob, begun: &Begun, outcome: Outcome) -> Done {
        let outcome = retry::unless_put_again(outcome, &job, crate::time::now());
        let runner = match &outcome {
            Outcome::NotBegun(_) | Outcome::Lost(_) => RunnerWas::Unavailable,
            Outcome::Problem(problem) if retry::is_refusal(problem.reason) => {
                RunnerWas::Unavailable
            }
            Outcome::Problem(_) | Outcome::Refused(_) | Outcome::Succeeded { .. } => {
                RunnerWas::Fine
            }
        };
        tracing::debug!(
            job = job.metadata.name, namespace = job.metadata.namespace, runner = begun.runner,
            %outcome, "attempt ended"
        );
        let (next, reason) = self.next(outcome, &job).await;
        let interruptions = job.status.as_ref().map_or(0, |status| status.interruptions);
        let outcome = next.outcome(interruptions);
        Span::current().record("outcome", outcome);
        let count = || self.metrics.attempt(outcome, reason);
        let written = match next {
            Next::Requeue => {
                count();
                Written::Unchanged
            }
            Next::Succeed(mut success) => {
                let waited = begun.at.duration_since(job.created()).as_millis();
                let queued = &mut success.timings.queue_millis;
                *queued = queued.saturating_add(u64::try_from(waited).unwrap_or_default());
                match LargeResult::of(&job, &success.result) {
                    Ok(None) => {
                        count();
                        succeed(&self.writer, &self.metrics, job, begun, &success, None).await
                    }
                    // Counted once it is stored.
                    Ok(Some(large)) => {
                        success.result = success.result.clipped();
                        let begun = begun.clone();
                        let unstored = Unstored {
                            job,
                            begun,
                            success,
                            large,
                        };
                        return self.ended(After::Keep(Box::new(unstored)), runner);
                    }
                    Err(error) => {
                        self.metrics.attempt("failed", RESULT_NOT_STORED);
                        let failure = Failure {
                            reason: RESULT_NOT_STORED.to_owned(),
                            message: error.to_string(),
                            retryable: false,
                        };
                        self.end(job, begun, &Ending::Failed(failure)).await
                    }
                }
            }
            Next::Fail(failure) => {
                count();
                self.end(job, begun, &Ending::Failed(failure)).await
            }
            Next::Retry(next) => {
                count();
                // Read once: the delay starts at the attempt's end, however long the write takes.
                let ended = crate::time::now();
                let make = |job: &InferenceJob| status::waiting(job, begun, &next, ended);
                self.writer.write(job, make).await
            }
        };
        self.done(written, runner)
    }

    /// What follows the outcome, and the metrics' label for its reason. A picture that cannot be
    /// downloaded while the object store is down is not the attempt's failure.
    async fn next(&self, outcome: Outcome, job: &InferenceJob) -> (Next, &'static str) {
        let nothing = InferenceJobStatus::default();
        let before = job.status.as_ref().unwrap_or(&nothing);
        let jitter = rand::random();
        match outcome {
            Outcome::Problem(problem)
                if problem.reason == Reason::FetchFailed && self.store_check.is_down().await =>
            {
                let age = crate::time::now().duration_since(job.created());
                let age = Duration::try_from(age).unwrap_or_default();
                let failure = Failure {
                    reason: STORE_UNAVAILABLE.to_owned(),
                    message: format!("the object store does not answer: {}", problem.detail),
                    retryable: true,
                };
                let next = retry::store_down(failure, before, &job.spec, age, jitter);
                (next.into(), STORE_UNAVAILABLE)
            }
            outcome => {
                let reason = outcome.reason();
                let alone = self.alone_on_a_proven_runner;
                let next = retry::next(outcome, before, &job.spec.retry, alone, jitter);
                (next, reason)
            }
        }
    }

    fn done(&self, job: Written, runner: RunnerWas) -> Done {
        self.ended(After::Written(job), runner)
    }

    fn ended(&self, after: After, runner: RunnerWas) -> Done {
        let uid = self.job.metadata.uid.clone().unwrap_or_default();
        Done {
            uid,
            after,
            runner,
            cost: Cost::Nothing,
        }
    }

    async fn end(&self, job: InferenceJob, begun: &Begun, ending: &Ending) -> Written {
        let make = |job: &InferenceJob| status::ended(job, Some(begun), ending, crate::time::now());
        self.writer.write(job, make).await
    }
}

/// Writes that the job succeeded; `stored` if its result is in the bucket.
pub(super) async fn succeed(
    writer: &StatusWriter,
    metrics: &Metrics,
    job: InferenceJob,
    begun: &Begun,
    success: &Success,
    stored: Option<StoredResult>,
) -> Written {
    let created = job.created();
    let make = |job: &InferenceJob| {
        let (success, stored) = (success.clone(), stored.clone());
        status::succeeded(job, begun, success, stored, crate::time::now())
    };
    let written = writer.write(job, make).await;
    if let Written::Current(_) = &written {
        if success.reused {
            metrics.reused_pictures("job", 1);
        }
        let total = crate::time::now().duration_since(created);
        let total = Duration::try_from(total).unwrap_or_default();
        metrics.job_succeeded(&success.timings, total, success.reused);
    }
    written
}
