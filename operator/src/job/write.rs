//! The one way in which an unfinished job's status is written: conditional on uid and resourceVersion, and
//! settled by reading again where the answer was a conflict or was lost.

mod callback;

use super::{decide::Ending, notice::notice, phase, status};
use crate::events::Events;
use crate::kill_points;
use crate::metrics::Metrics;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use fovea_crds::{InferenceJob, InferenceJobStatus, Phase};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
    core::Request,
};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Most tries of one write; with the waits between them about ten minutes.
const MAX_TRIES: u32 = 32;

/// Longest wait between two attempts.
const GREATEST_WAIT: Duration = Duration::from_secs(20);

/// Waits after failures that are no conflict; each is twice the one before.
const WAITS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(GREATEST_WAIT)
    .without_max_times();

/// No request takes longer; what it did is then unknown, and settled by reading again.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// Writes statuses of jobs and deletes finished ones.
#[derive(Clone)]
pub struct StatusWriter {
    client: Client,
    metrics: Arc<Metrics>,
    events: Events,
}

/// How a write came out.
#[derive(Debug)]
pub enum Written {
    /// The status stands; this is the object that carries it.
    Stands(Box<InferenceJob>),
    /// The job is gone, is another one of the same name, or had ended already.
    Moot,
    /// No try succeeded: the job has to be looked at anew.
    GaveUp,
}

/// What one try says.
enum Tried {
    Done(Box<InferenceJob>),
    ReadAgain { wait: bool },
    Rejected(String),
    Gone,
}

impl Tried {
    /// For the metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::Done(_) => "stands",
            Self::ReadAgain { wait: false } => "conflict",
            Self::ReadAgain { wait: true } => "failed",
            Self::Rejected(_) => "rejected",
            Self::Gone => "moot",
        }
    }
}

impl StatusWriter {
    /// A writer that uses `client`, whose requests must be bounded in time.
    pub fn new(client: Client, metrics: Arc<Metrics>, events: Events) -> Self {
        Self {
            client,
            metrics,
            events,
        }
    }

    /// Writes the status that `make` gives for the job as it stands. After a conflict or a lost
    /// answer the job is read again: where it is gone or has ended nothing is written; where the
    /// user has cancelled it, that is; else what `make` gives for the newer object.
    pub async fn write(
        &self,
        mut job: InferenceJob,
        make: impl Fn(&InferenceJob) -> InferenceJobStatus,
    ) -> Written {
        let mut next = make(&job);
        let mut waits = WAITS.build();
        for _ in 0..MAX_TRIES {
            let tried = self.try_once(&job, &next).await;
            self.metrics.status_write(tried.word());
            match tried {
                Tried::Done(written) => {
                    tell(&job, &written);
                    if let Some(notice) = notice(job.status.as_ref(), &next) {
                        self.events
                            .warn(written.object_ref(&()), "Dispatch", notice);
                    }
                    kill_points::after(kill_points::of_status(&next));
                    return Written::Stands(written);
                }
                Tried::Gone => return Written::Moot,
                Tried::Rejected(why) => {
                    tracing::error!(job = %job.name_any(), namespace = job.namespace(), %why, "status rejected");
                    next = status::rejected(&job, &why, Timestamp::now());
                    continue;
                }
                Tried::ReadAgain { wait: false } => {}
                Tried::ReadAgain { wait: true } => {
                    tokio::time::sleep(waits.next().unwrap_or(GREATEST_WAIT)).await;
                }
            }
            match self.read(&job).await {
                Ok(Some(newer)) if phase(&newer).is_terminal() => {
                    self.metrics.status_write("moot");
                    return Written::Moot;
                }
                Ok(Some(newer)) => {
                    next = if newer.spec.cancel {
                        status::ended(&newer, None, &Ending::Cancelled, Timestamp::now())
                    } else {
                        make(&newer)
                    };
                    job = newer;
                }
                Ok(None) => {
                    self.metrics.status_write("moot");
                    return Written::Moot;
                }
                Err(error) => {
                    tracing::warn!(job = %job.name_any(), %error, "reading a job again failed");
                }
            }
        }
        self.metrics.status_write("gave-up");
        Written::GaveUp
    }

    /// The job as the API server has it now; `None` where it is gone or another of its name.
    pub async fn read(&self, job: &InferenceJob) -> Result<Option<InferenceJob>, kube::Error> {
        let found = bounded(self.jobs(job).get_opt(&job.name_any())).await?;
        Ok(found.filter(|newer| newer.metadata.uid == job.metadata.uid))
    }

    /// Deletes a finished job if it is still the one that was seen.
    pub async fn delete(&self, uid: &str, job: &super::Finished) -> Result<(), kube::Error> {
        let api: Api<InferenceJob> = Api::namespaced(self.client.clone(), &job.namespace);
        let preconditions = Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: Some(job.resource_version.to_string()),
        };
        let parameters = DeleteParams::background().preconditions(preconditions);
        match bounded(api.delete(&job.name, &parameters)).await {
            Ok(_) => {
                kill_points::after(kill_points::JOB_DELETED);
                Ok(())
            }
            Err(error) => match code_of(&error) {
                Some(404 | 409) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn jobs(&self, job: &InferenceJob) -> Api<InferenceJob> {
        Api::namespaced(
            self.client.clone(),
            job.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }

    async fn try_once(&self, job: &InferenceJob, status: &InferenceJobStatus) -> Tried {
        match self.put(job, status).await {
            Ok(written) => Tried::Done(Box::new(written)),
            Err(error) => match code_of(&error) {
                Some(404) => Tried::Gone,
                Some(409) => Tried::ReadAgain { wait: false },
                Some(413 | 422) => Tried::Rejected(error.to_string()),
                _ => {
                    tracing::warn!(job = %job.name_any(), %error, "writing a status failed");
                    Tried::ReadAgain { wait: true }
                }
            },
        }
    }

    /// A PUT of the status subresource alone: what it does not name is cleared, and the spec,
    /// which may be large, does not travel.
    async fn put(
        &self,
        job: &InferenceJob,
        status: &InferenceJobStatus,
    ) -> Result<InferenceJob, kube::Error> {
        let name = job.name_any();
        let body = json!({
            "apiVersion": InferenceJob::api_version(&()),
            "kind": InferenceJob::kind(&()),
            "metadata": {
                "name": name,
                "namespace": job.namespace(),
                "uid": job.metadata.uid,
                "resourceVersion": job.metadata.resource_version,
            },
            // Required by the schema, ignored by the subresource.
            "spec": {"task": job.spec.task, "input": {"object": {"key": "unchanged"}}},
            "status": status,
        });
        let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
        let path = InferenceJob::url_path(&(), job.metadata.namespace.as_deref());
        let request = Request::new(path)
            .replace_subresource("status", &name, &PostParams::default(), body)
            .map_err(kube::Error::BuildRequest)?;
        bounded(self.client.request(request)).await
    }
}

/// The one line for each change of a job's state.
fn tell(before: &InferenceJob, after: &InferenceJob) {
    let nothing = InferenceJobStatus::default();
    let status = after.status.as_ref().unwrap_or(&nothing);
    let (from, to) = (phase(before), status.phase);
    let reason = status::reason(before.status.as_ref(), status);
    if from == to && reason.is_none() {
        return;
    }
    let ended = status.attempts.saturating_add(status.interruptions);
    let attempt = ended.saturating_add(u32::from(to == Phase::Running));
    tracing::info!(
        job = after.metadata.name,
        namespace = after.metadata.namespace,
        uid = after.metadata.uid,
        attempt,
        runner = status.runner,
        from = from.as_str(),
        to = to.as_str(),
        reason,
        "job changed"
    );
}

async fn bounded<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    match tokio::time::timeout(REQUEST_LIMIT, request).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
    }
}

/// The HTTP status of an answer that the API server did give.
fn code_of(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}
