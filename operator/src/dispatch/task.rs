//! One job on one runner, from the request to the written status. While it runs, this task is
//! the only one that writes the job's status.

use super::retry::{self, Next, Outcome};
use super::runners::RunnerClient;
use super::wire;
use crate::job::decide::{Ending, Placement};
use crate::job::status::{self, Begun, Success, Waiting};
use crate::job::write::{StatusWriter, Written};
use base64::Engine as _;
use fovea_crds::bounds::MAX_RESULT_BYTES;
use fovea_crds::{InferenceJob, Input, JobResult, Phase, ServedModel, Timings};
use fovea_protocol::{InferRequest, LeaderRequest, Problem, Reason, Source};
use fovea_store::{ObjectKey, Sha256, Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// An attempt that lasts longer is told in the job's status.
const TELL_RUNNING_AFTER: Duration = Duration::from_secs(1);

/// A presigned URL outlives its attempt's deadline by this, for clocks that differ.
const PRESIGN_GRACE: Duration = Duration::from_mins(1);

/// S3's own bound on a presigned URL.
const MAX_PRESIGN: Duration = Duration::from_hours(7 * 24);

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
    pub(super) async fn run(self, mut abort: oneshot::Receiver<Abort>) -> Left {
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
            AbortOnDropHandle::new(tokio::spawn(
                async move { runner.infer(task, &request).await },
            ))
        };
        tokio::pin!(conversation);
        let mut job = self.job.clone();
        let mut told = crate::job::phase(&job) == Phase::Running;
        loop {
            tokio::select! {
                biased;
                reason = &mut abort => {
                    conversation.abort();
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

    /// The request, with the picture's bytes or a presigned URL; an outcome where there is none.
    async fn request(&self) -> Result<InferRequest, Outcome> {
        let spec = &self.job.spec;
        let status = self.job.status.as_ref();
        let done = status.map_or(0, |status| {
            status.attempts.saturating_add(status.interruptions)
        });
        Ok(InferRequest {
            installation: self.leader.installation.clone(),
            epoch: self.leader.epoch,
            job: self.job.metadata.uid.clone().unwrap_or_default(),
            attempt: done.saturating_add(1),
            task: wire::task(spec.task),
            model: self.placement.model.clone(),
            input: self.input().await?,
            parameters: wire::parameters(&spec.parameters),
            deadline_millis: u64::from(spec.attempt_deadline_seconds) * 1000,
            exclusive: status.is_some_and(|status| status.exclusive),
        })
    }

    async fn input(&self) -> Result<fovea_protocol::Input, Outcome> {
        let namespace = self.job.metadata.namespace.as_deref().unwrap_or_default();
        let refused = |why: &dyn std::fmt::Display| {
            Outcome::Problem(Problem::new(
                Reason::InvalidParameters,
                format!("spec.input: {why}"),
            ))
        };
        match &self.job.spec.input {
            Input::Upload { sha256 } => {
                let digest: Sha256 = sha256.parse().map_err(|error| refused(&error))?;
                let key = ObjectKey::upload(namespace, &self.namespace_uid, &digest)
                    .map_err(|error| refused(&error))?;
                let source = self.presign(&key).await?;
                Ok(fovea_protocol::Input {
                    source,
                    sha256: Some(sha256.clone()),
                    bytes: None,
                })
            }
            Input::Object { key } => {
                let key = ObjectKey::data(namespace, key).map_err(|error| refused(&error))?;
                let source = self.presign(&key).await?;
                Ok(fovea_protocol::Input {
                    source,
                    sha256: None,
                    bytes: None,
                })
            }
            // The cache does not hold inline pictures: the job is read again.
            Input::Inline { .. } => match self.writer.read(&self.job).await {
                Ok(Some(InferenceJob {
                    spec:
                        fovea_crds::InferenceJobSpec {
                            input: Input::Inline { data },
                            ..
                        },
                    ..
                })) => {
                    let data = base64::engine::general_purpose::STANDARD.encode(data.0);
                    Ok(fovea_protocol::Input {
                        source: Source::Data(data),
                        sha256: None,
                        bytes: None,
                    })
                }
                Ok(_) => Err(Outcome::NotBegun {
                    detail: "the job is gone".to_owned(),
                }),
                Err(error) => Err(Outcome::NotBegun {
                    detail: error.to_string(),
                }),
            },
        }
    }

    async fn presign(&self, key: &ObjectKey) -> Result<Source, Outcome> {
        let deadline = Duration::from_secs(u64::from(self.job.spec.attempt_deadline_seconds));
        let lifetime = (deadline + PRESIGN_GRACE).min(MAX_PRESIGN);
        let signed = self.store.presign_get(key, lifetime).await;
        signed.map(Source::Url).map_err(|error| {
            Outcome::Problem(Problem::new(
                Reason::FetchFailed,
                format!("the picture cannot be signed for: {error}"),
            ))
        })
    }

    /// Writes what an attempt's end makes of the job.
    async fn conclude(&self, job: InferenceJob, begun: &Begun, outcome: Outcome) -> Left {
        let runner = match &outcome {
            Outcome::NotBegun { .. } | Outcome::Lost { .. } => RunnerWas::Unavailable,
            Outcome::Problem(problem) => match problem.reason {
                Reason::Busy
                | Reason::NotReady
                | Reason::UnknownModel
                | Reason::StaleEpoch
                | Reason::Unauthorized => RunnerWas::Unavailable,
                _ => RunnerWas::Fine,
            },
            Outcome::Succeeded { .. } => RunnerWas::Fine,
        };
        tracing::info!(
            job = job.metadata.name, namespace = job.metadata.namespace, runner = begun.runner,
            outcome = %word(&outcome), "attempt ended"
        );
        let nothing = fovea_crds::InferenceJobStatus::default();
        let next = retry::next(
            outcome,
            job.status.as_ref().unwrap_or(&nothing),
            &job.spec.retry,
            self.alone_on_a_proven_runner,
            rand::random(),
        );
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
                self.writer.write(job, make).await
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
