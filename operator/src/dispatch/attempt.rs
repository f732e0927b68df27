//! One attempt: one job on one runner, from the request to the written status. While it runs, no other
//! task writes the job's status.

use super::runners::RunnerClient;
use crate::job::decide::{Ending, Placement};
use crate::job::retry::{self, Next, Outcome};
use crate::job::status::{self, Begun, StoredResult};
use crate::job::write::{StatusWriter, Written};
use crate::kill_points;
use crate::metrics::Metrics;
use crate::trace;
use fovea_crds::bounds::MAX_RESULT_BYTES;
use fovea_crds::{InferenceJob, JobResult, Phase};
use fovea_protocol::{LeaderRequest, Stage};
use fovea_store::{ObjectKey, Sha256, Store, StoreError};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span};

/// The phase Running is written after this time; a shorter attempt saves the write.
const SHOW_RUNNING_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Attempt {
    pub job: InferenceJob,
    /// The namespace's uid, which is part of an upload's key.
    pub namespace_uid: String,
    pub placement: Placement,
    pub runner: RunnerClient,
    /// This leader, as the runner knows it.
    pub leader: LeaderRequest,
    /// Whether the runner has served another job since its start, and now runs only this one.
    pub alone_on_a_proven_runner: bool,
    pub writer: StatusWriter,
    pub store: Store,
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
    pub job: Written,
    pub runner: RunnerWas,
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
            at: Timestamp::now(),
        };
        let (reached, stage) = watch::channel(Stage::Unknown);
        let conversation = {
            let (runner, task) = (self.runner.clone(), self.job.spec.task);
            let request = match self.request().await {
                Ok(request) => request,
                Err(outcome) => return self.conclude(self.job.clone(), &begun, outcome).await,
            };
            AbortOnDropHandle::new(tokio::spawn(async move {
                runner
                    .infer(task, &request, traceparent.as_deref(), &reached)
                    .await
            }))
        };
        tokio::pin!(conversation);
        let mut job = self.job.clone();
        let mut shows_running = job.phase() == Phase::Running;
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
                    return match reason {
                        Ok(Abort::End(ending)) => self.end(job, &begun, &ending).await,
                        Ok(Abort::Drop) | Err(_) => self.done(Written::Unchanged, RunnerWas::Fine),
                    };
                }
                outcome = &mut conversation => {
                    let outcome = outcome.unwrap_or_else(|error| Outcome::Lost(error.to_string()));
                    return self.conclude(job, &begun, outcome).await;
                }
                () = tokio::time::sleep(SHOW_RUNNING_AFTER), if !shows_running => {
                    shows_running = true;
                    let stage = *stage.borrow();
                    let make =
                        |job: &InferenceJob| status::running(job, &begun, stage, Timestamp::now());
                    match self.writer.write(job.clone(), make).await {
                        Written::Current(written) if !written.is_finished() => job = *written,
                        Written::Unchanged => {}
                        ended => return self.done(ended, RunnerWas::Fine),
                    }
                }
            }
        }
    }

    /// Writes the status that follows from the attempt's outcome.
    async fn conclude(&self, job: InferenceJob, begun: &Begun, outcome: Outcome) -> Done {
        let runner = match &outcome {
            Outcome::NotBegun(_) | Outcome::Lost(_) => RunnerWas::Unavailable,
            Outcome::Problem(problem) if retry::is_refusal(problem.reason) => {
                RunnerWas::Unavailable
            }
            Outcome::Problem(_) | Outcome::Succeeded { .. } => RunnerWas::Fine,
        };
        tracing::debug!(
            job = job.metadata.name, namespace = job.metadata.namespace, runner = begun.runner,
            %outcome, "attempt ended"
        );
        let nothing = fovea_crds::InferenceJobStatus::default();
        let before = job.status.as_ref().unwrap_or(&nothing);
        let reason = outcome.reason();
        let next = retry::next(
            outcome,
            before,
            &job.spec.retry,
            self.alone_on_a_proven_runner,
            rand::random(),
        );
        let outcome = next.outcome(before.interruptions);
        Span::current().record("outcome", outcome);
        self.metrics.attempt(outcome, reason);
        let written = match next {
            Next::Requeue => Written::Unchanged,
            Next::Succeed(mut success) => {
                let stored = match self.store_if_large(&job, &success.result).await {
                    Ok(stored) => stored,
                    Err(error) => {
                        tracing::warn!(%error, "a large result could not be stored; the job runs again");
                        return self.done(Written::Unchanged, RunnerWas::Unavailable);
                    }
                };
                let created = job.created();
                let waited = begun.at.duration_since(created).as_millis();
                let queued = &mut success.timings.queue_millis;
                *queued = queued.saturating_add(u64::try_from(waited).unwrap_or_default());
                let make = |job: &InferenceJob| {
                    let (success, stored) = (success.clone(), stored.clone());
                    status::succeeded(job, begun, success, stored, Timestamp::now())
                };
                let written = self.writer.write(job, make).await;
                if let Written::Current(_) = &written {
                    let total = Timestamp::now().duration_since(created);
                    let total = Duration::try_from(total).unwrap_or_default();
                    self.metrics.job_succeeded(&success.timings, total);
                }
                written
            }
            Next::Fail(failure) => {
                let ending = Ending::Failed(failure);
                let make =
                    |job: &InferenceJob| status::ended(job, Some(begun), &ending, Timestamp::now());
                self.writer.write(job, make).await
            }
            Next::Retry(next) => {
                // Read once: the delay starts at the attempt's end, however long the write takes.
                let ended = Timestamp::now();
                let make = |job: &InferenceJob| status::waiting(job, begun, &next, ended);
                self.writer.write(job, make).await
            }
        };
        self.done(written, runner)
    }

    fn done(&self, job: Written, runner: RunnerWas) -> Done {
        let uid = self.job.metadata.uid.clone().unwrap_or_default();
        Done { uid, job, runner }
    }

    async fn end(&self, job: InferenceJob, begun: &Begun, ending: &Ending) -> Done {
        let make = |job: &InferenceJob| status::ended(job, Some(begun), ending, Timestamp::now());
        self.done(self.writer.write(job, make).await, RunnerWas::Fine)
    }

    /// Stores a result that is too large for a status in the bucket, before the status refers to it.
    async fn store_if_large(
        &self,
        job: &InferenceJob,
        result: &JobResult,
    ) -> Result<Option<StoredResult>, StoreError> {
        let json =
            serde_json::to_vec(result).map_err(|error| StoreError::Config(error.to_string()))?;
        if json.len() <= MAX_RESULT_BYTES && *result == result.clone().clipped() {
            return Ok(None);
        }
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        let key = ObjectKey::result(namespace, uid)
            .map_err(|error| StoreError::Config(error.to_string()))?;
        let stored = StoredResult {
            bytes: json.len() as u64,
            sha256: Sha256::of(&json).to_string(),
        };
        self.store
            .put(&key, json.into(), "application/json")
            .await?;
        kill_points::after(kill_points::RESULT_STORED);
        Ok(Some(stored))
    }
}
