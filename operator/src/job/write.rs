//! Writes statuses of jobs and deletes finished jobs.
//!
//! There is one loop for every write of a status, [`StatusWriter::settle`]: each request is
//! conditional on uid and resourceVersion, and after a conflict or a lost answer the job is read
//! again before the next try.

mod callback;
mod generation;
mod state;

use super::Finished;
use crate::events::Events;
use crate::kill_points;
use crate::metrics::Metrics;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use fovea_cluster::{decoded, read_inline, read_job, request};
use fovea_crds::InferenceJob;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Preconditions},
};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bound on concurrent reads and writes of jobs. Each has an answer, which is a whole job.
const MAX_REQUESTS: usize = 64;

/// Most tries of one write; with the waits between them about ten minutes.
const MAX_TRIES: u32 = 32;

/// Longest wait between two tries.
const GREATEST_WAIT: Duration = Duration::from_secs(20);

/// Waits after failures that are no conflict; each is twice the one before.
const WAITS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(GREATEST_WAIT)
    .without_max_times();

/// Upper bound on one request. After it the effect is unknown, and reading again settles it.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// Writes statuses of jobs and deletes finished ones. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StatusWriter {
    client: Client,
    metrics: Arc<Metrics>,
    events: Events,
    requests: Arc<Semaphore>,
}

/// A job after a write, or after a task that might have written.
#[derive(Debug)]
pub(crate) enum Written {
    /// The object with the status that stands now.
    Current(Box<InferenceJob>),
    /// The job had ended already; the object with its end.
    Ended(Box<InferenceJob>),
    /// What stands is not known: the API server says that the job is gone, and only the watch proves it, or
    /// the task panicked. The job must not run before it is read again.
    Unknown,
    /// Nothing was written: the cached object stands, and the job is reconciled again.
    Unchanged,
}

/// Outcome of the deletion of a finished job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    Deleted,
    /// Somebody else has deleted it.
    Gone,
    /// It has changed since it was observed, and stays.
    Changed,
}

trait Change {
    /// The request that makes it, conditional on `job`'s uid and resourceVersion.
    fn request(&self, job: &InferenceJob) -> Result<http::Request<Vec<u8>>, kube::Error>;

    /// Reduces the change to what the API server accepts in any case; it refused it because of `why`.
    fn reduce(&mut self, job: &InferenceJob, why: &str);

    /// Adapts the change to the job as it is now; breaks with the outcome where nothing remains to
    /// be written.
    fn rebase(&mut self, newer: InferenceJob) -> ControlFlow<Written, InferenceJob>;

    /// Follows up on the write that turned `before` into `after`.
    fn written(&self, before: &InferenceJob, after: &InferenceJob);
}

enum Tried {
    Written(Box<InferenceJob>),
    Conflict,
    Failed,
    Rejected(String),
    /// The answer is 404, which a proxy or an aggregation layer may give as well: reading again tells.
    NotFound,
}

impl Tried {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Written(_) => "stands",
            Self::Conflict | Self::NotFound => "conflict",
            Self::Failed => "failed",
            Self::Rejected(_) => "rejected",
        }
    }
}

impl StatusWriter {
    /// A writer that uses `client`, whose requests must be bounded in time.
    pub(crate) fn new(client: Client, metrics: Arc<Metrics>, events: Events) -> Self {
        Self {
            client,
            metrics,
            events,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }

    /// The job as the API server has it now; `None` where it is gone or another of its name.
    pub(crate) async fn read(
        &self,
        job: &InferenceJob,
    ) -> Result<Option<InferenceJob>, kube::Error> {
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let uid = job.metadata.uid.as_deref();
        self.read_named(namespace, &job.name_any(), uid).await
    }

    /// The finished job as the API server has it now; `None` where it is gone or another of its
    /// name.
    pub(crate) async fn read_finished(
        &self,
        uid: &str,
        job: &Finished,
    ) -> Result<Option<InferenceJob>, kube::Error> {
        self.read_named(&job.namespace, &job.name, Some(uid)).await
    }

    /// The inline picture of the job; `None` where the job is gone or another of its name.
    pub(crate) async fn read_inline(
        &self,
        job: &InferenceJob,
    ) -> Result<Option<Vec<u8>>, kube::Error> {
        self.bounded(read_inline(&self.client, job)).await
    }

    /// Deletes a finished job unless it has changed since it was observed.
    pub(crate) async fn delete(&self, uid: &str, job: &Finished) -> Result<Deletion, kube::Error> {
        let preconditions = Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: Some(job.resource_version.to_string()),
        };
        let parameters = DeleteParams::background().preconditions(preconditions);
        let jobs: Api<InferenceJob> = Api::namespaced(self.client.clone(), &job.namespace);
        match self.bounded(jobs.delete(&job.name, &parameters)).await {
            Ok(_) => {
                kill_points::after(kill_points::JOB_DELETED);
                Ok(Deletion::Deleted)
            }
            Err(error) => match code_of(&error) {
                Some(404) => Ok(Deletion::Gone),
                Some(409) => Ok(Deletion::Changed),
                _ => Err(error),
            },
        }
    }

    async fn read_named(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<Option<InferenceJob>, kube::Error> {
        let found = (self.bounded(read_job(&self.client, namespace, name))).await?;
        Ok(found.filter(|found| found.metadata.uid.as_deref() == uid))
    }

    /// Writes `change` to `job` until it stands or nothing remains to be written. It gives up after
    /// [`MAX_TRIES`].
    async fn settle(&self, mut job: InferenceJob, change: &mut impl Change) -> Written {
        let mut waits = WAITS.build();
        let mut reduced = false;
        for _ in 0..MAX_TRIES {
            let tried = self.try_once(&job, change).await;
            self.metrics.status_write(tried.outcome());
            match tried {
                Tried::Written(written) => {
                    change.written(&job, &written);
                    return Written::Current(written);
                }
                Tried::Rejected(why) if !reduced => {
                    change.reduce(&job, &why);
                    reduced = true;
                    continue;
                }
                Tried::Conflict => {}
                // The reduced change was rejected, too: only time or a newer object helps.
                Tried::Rejected(_) | Tried::Failed | Tried::NotFound => {
                    tokio::time::sleep(waits.next().unwrap_or(GREATEST_WAIT)).await;
                }
            }
            reduced = false;
            match self.read(&job).await {
                Ok(Some(newer)) => match change.rebase(newer) {
                    ControlFlow::Continue(newer) => job = newer,
                    ControlFlow::Break(written) => {
                        self.metrics.status_write("moot");
                        return written;
                    }
                },
                Ok(None) => {
                    self.metrics.status_write("moot");
                    return Written::Unknown;
                }
                Err(error) => {
                    tracing::warn!(job = %job.name_any(), namespace = job.namespace(), %error, "reading a job again failed");
                }
            }
        }
        self.metrics.status_write("gave-up");
        Written::Unchanged
    }

    async fn try_once(&self, job: &InferenceJob, change: &impl Change) -> Tried {
        let answer = match change.request(job) {
            Ok(change) => self.bounded(request(&self.client, change)).await,
            Err(error) => Err(error),
        };
        match answer.and_then(decoded) {
            Ok(written) => Tried::Written(Box::new(written)),
            Err(error) => match code_of(&error) {
                Some(404) => Tried::NotFound,
                Some(409) => Tried::Conflict,
                Some(413 | 422) => {
                    tracing::error!(job = %job.name_any(), namespace = job.namespace(), why = %error, "the API server rejected a status");
                    Tried::Rejected(error.to_string())
                }
                _ => {
                    tracing::warn!(job = %job.name_any(), namespace = job.namespace(), %error, "writing a status failed");
                    Tried::Failed
                }
            },
        }
    }

    /// Waits for a place of [`MAX_REQUESTS`], then for the answer, at most [`REQUEST_LIMIT`].
    async fn bounded<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, kube::Error> {
        let _permit = self.requests.acquire().await;
        match tokio::time::timeout(REQUEST_LIMIT, request).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
        }
    }
}

/// The HTTP status of the API server's answer; `None` where there was no answer.
fn code_of(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}
