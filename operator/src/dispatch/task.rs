//! One job on one runner, from the request to the written status. While it runs, this task is
//! the only one that writes the job's status.

use super::runners::RunnerClient;
use super::wire;
use crate::job::decide::{Ending, Placement};
use crate::job::retry::{self, Next, Outcome};
use crate::job::status::{self, Begun, Success, Waiting};
use crate::job::write::{StatusWriter, Written};
use crate::kill_points;
use crate::metrics::{self, Metrics};
use crate::trace;
use fovea_crds::bounds::MAX_RESULT_BYTES;
use fovea_crds::{InferenceJob, JobResult, Phase, ServedModel, Timings};
use fovea_protocol::LeaderRequest;
use fovea_store::{ObjectKey, Sha256, Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span};

/// An attempt that lasts longer is told in the job's status.
const TELL_RUNNING_AFTER: Duration = Duration::from_secs(1);

/// Everything one attempt needs.
pub(super) struct Attempt {
    /// The job, as trimmed by the cache.
    pub job: InferenceJob,
    /// Its namespace's uid, which is part of an upload's key.
    pub namespace_uid: String,
    /// Where it runs.
    pub placement: Placement,
    /// The chosen runner.
    pub runner: RunnerClient,
    /// Who speaks.
    pub leader: LeaderRequest,
    /// Whether the runner has served another job since its start, and now has only this one.
    pub alone_on_a_proven_runner: bool,
    /// Writes the job's status.
    pub writer: StatusWriter,
    /// Signs for the picture, keeps a large result.
    pub store: Store,
    /// Counts how it came out.
    pub metrics: Arc<Metrics>,
}

/// Why a task is told to stop.
#[derive(Clone, Debug)]
pub(super) enum Abort {
    /// The job ends: cancelled, or past a deadline.
    End(Ending),
    /// The job is gone or has ended otherwise: nothing is written.
    Drop,
}

/// What became of the runner, as far as this attempt tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunnerWas {
    /// It answered.
    Fine,
    /// It had no room, or was not reached: not again before it has been asked.
    Unavailable,
}

/// What a task knows of its job at its end.
#[derive(Debug)]
pub(super) enum Latest {
    /// The object that carries the written status.
    Written(Box<InferenceJob>),
    /// Nothing was written; what the cache holds stands.
    Unchanged,
    /// The job is gone or has ended; the cache may not know it yet, and must not run it again.
    Outdated,
}

/// What a task leaves behind.
#[derive(Debug)]
pub(super) struct Left {
    /// The job.
    pub job: Latest,
    /// What to think of the runner.
    pub runner: RunnerWas,
}

impl Attempt {
    /// Runs the attempt and writes what came of it.
    pub(super) async fn run(self, abort: oneshot::Receiver<Abort>) -> Left {
        let address = self.runner.address().as_str();
        let (span, traceparent) = trace::attempt(&self.job, self.number(), address);
        Box::pin(self.go(abort, traceparent).instrument(span)).await
    }

    async fn go(self, mut abort: oneshot::Receiver<Abort>, traceparent: Option<String>) -> Left {
        let begun = Begun {
            pool: self.placement.pool.clone(),
            runner: self.runner.address().to_string(),
            at: Timestamp::now(),
        };
        let conversation = {
            let (runner, task) = (self.runner.clone(), self.job.spec.task);
            let request = match self.request().await {
                Ok(request) => request,
                Err(outcome) => return self.conclude(self.job.clone(), &begun, outcome).await,
            };
            AbortOnDropHandle::new(tokio::spawn(async move {
                runner.infer(task, &request, traceparent.as_deref()).await
            }))
        };
        tokio::pin!(conversation);
        let mut job = self.job.clone();
        let mut told = crate::job::phase(&job) == Phase::Running;
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
                    self.metrics.attempt("aborted", metrics::ending(why));
                    return match reason {
                        Ok(Abort::End(ending)) => self.end(job, &begun, &ending).await,
                        Ok(Abort::Drop) | Err(_) => Left { job: Latest::Unchanged, runner: RunnerWas::Fine },
                    };
                }
                outcome = &mut conversation => {
                    let outcome = outcome.unwrap_or_else(|error| Outcome::Lost { detail: error.to_string() });
                    return self.conclude(job, &begun, outcome).await;
                }
                () = tokio::time::sleep(TELL_RUNNING_AFTER), if !told => {
                    told = true;
                    let make = |job: &InferenceJob| status::running(job, &begun, Timestamp::now());
                    match self.writer.write(job.clone(), make).await {
                        Written::Stands(written) if !crate::job::phase(&written).is_terminal() => job = *written,
                        Written::Stands(written) => return Left { job: Latest::Written(written), runner: RunnerWas::Fine },
                        Written::Moot => return Left { job: Latest::Outdated, runner: RunnerWas::Fine },
                        Written::GaveUp => {}
                    }
                }
            }
        }
    }

    /// Writes what an attempt's end makes of the job.
    async fn conclude(&self, job: InferenceJob, begun: &Begun, outcome: Outcome) -> Left {
        let runner = match &outcome {
            Outcome::NotBegun { .. } | Outcome::Lost { .. } => RunnerWas::Unavailable,
            Outcome::Problem(problem) if retry::is_refusal(problem.reason) => {
                RunnerWas::Unavailable
            }
            Outcome::Problem(_) | Outcome::Succeeded { .. } => RunnerWas::Fine,
        };
        tracing::debug!(
            job = job.metadata.name, namespace = job.metadata.namespace, runner = begun.runner,
            outcome = %word(&outcome), "attempt ended"
        );
        let nothing = fovea_crds::InferenceJobStatus::default();
        let before = job.status.as_ref().unwrap_or(&nothing);
        let reason = metrics::reason(&outcome);
        let next = retry::next(
            outcome,
            before,
            &job.spec.retry,
            self.alone_on_a_proven_runner,
            rand::random(),
        );
        let outcome = metrics::outcome(&next, before.interruptions);
        Span::current().record("outcome", outcome);
        self.metrics.attempt(outcome, reason);
        let written = match next {
            Next::Requeue => {
                return Left {
                    job: Latest::Unchanged,
                    runner,
                };
            }
            Next::Succeed {
                result,
                model,
                timings,
            } => {
                let success = match self.success(&job, begun, result, model, timings).await {
                    Ok(success) => success,
                    Err(error) => {
                        tracing::warn!(%error, "a large result could not be stored; the job runs again");
                        return Left {
                            job: Latest::Unchanged,
                            runner: RunnerWas::Unavailable,
                        };
                    }
                };
                let make = |job: &InferenceJob| {
                    status::succeeded(job, begun, success.clone(), Timestamp::now())
                };
                let created = crate::job::created(&job);
                let written = self.writer.write(job, make).await;
                if let Written::Stands(_) = &written {
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
            Next::Retry {
                delay,
                attempts,
                interruptions,
                exclusive,
                failure,
            } => {
                let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::ZERO);
                let until = Timestamp::now()
                    .checked_add(delay)
                    .unwrap_or(Timestamp::MAX);
                let wait = Waiting {
                    until,
                    attempts,
                    interruptions,
                    exclusive,
                    failure,
                };
                let make =
                    |job: &InferenceJob| status::waiting(job, begun, &wait, Timestamp::now());
                self.writer.write(job, make).await
            }
        };
        left(written, runner)
    }

    async fn end(&self, job: InferenceJob, begun: &Begun, ending: &Ending) -> Left {
        let make = |job: &InferenceJob| status::ended(job, Some(begun), ending, Timestamp::now());
        left(self.writer.write(job, make).await, RunnerWas::Fine)
    }

    /// A result too large for a status is kept whole in the bucket before the status points at it.
    async fn success(
        &self,
        job: &InferenceJob,
        begun: &Begun,
        result: JobResult,
        model: ServedModel,
        timings: fovea_protocol::Timings,
    ) -> Result<Success, StoreError> {
        let waited = begun
            .at
            .duration_since(crate::job::created(job))
            .as_millis();
        let timings: Timings = wire::timings(timings, u64::try_from(waited).unwrap_or_default());
        let json =
            serde_json::to_vec(&result).map_err(|error| StoreError::Config(error.to_string()))?;
        let fits = json.len() <= MAX_RESULT_BYTES && result == result.clone().clipped();
        if fits {
            return Ok(Success {
                result,
                model,
                timings,
                stored: None,
            });
        }
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        let key = ObjectKey::result(namespace, uid)
            .map_err(|error| StoreError::Config(error.to_string()))?;
        let stored = (json.len() as u64, Sha256::of(&json).to_string());
        self.store
            .put(&key, json.into(), "application/json")
            .await?;
        kill_points::after(kill_points::RESULT_KEPT);
        Ok(Success {
            result,
            model,
            timings,
            stored: Some(stored),
        })
    }
}

fn left(written: Written, runner: RunnerWas) -> Left {
    Left {
        job: latest(written),
        runner,
    }
}

/// What a write's outcome tells of the job.
pub(super) fn latest(written: Written) -> Latest {
    match written {
        Written::Stands(job) => Latest::Written(job),
        Written::Moot => Latest::Outdated,
        Written::GaveUp => Latest::Unchanged,
    }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded { .. } => "succeeded".to_owned(),
        Outcome::Problem(problem) => format!("{:?}: {}", problem.reason, problem.detail),
        Outcome::Lost { detail } => format!("runner lost: {detail}"),
        Outcome::NotBegun { detail } => format!("not begun: {detail}"),
    }
}
