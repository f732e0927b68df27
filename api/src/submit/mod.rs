//! From an accepted request to a committed job: digest, picture into the store, then the create.

mod commit;
mod decide;
mod fingerprint;
mod manifest;
mod picture;

pub use commit::COMMIT_GENERATIONS;
pub(crate) use manifest::Origin;

use crate::audit::{self, Action};
use crate::auth::Tenant;
use crate::error::{Problem, ProblemType};
use crate::jobs::Full;
use crate::state::App;
use crate::validate::ValidRequest;
use bytes::Bytes;
use commit::{Commit, CommitError};
use fingerprint::{Fingerprint, Naming};
use fovea_cluster::NamespaceError;
use fovea_crds::{InferenceJob, Input};
use fovea_store::StoreError;
use kube::{Api, ResourceExt as _};
use picture::StoredPicture;

pub(crate) struct Submission {
    pub(crate) request: ValidRequest,
    pub(crate) payload: Payload,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) origin: Origin,
}

/// The picture, the key of an object in the bucket, or the pictures of a batch.
pub(crate) enum Payload {
    Picture(Bytes),
    Object {
        key: String,
    },
    Batch {
        input: Input,
        /// The input as equal requests have it: of an upload, its digest in place of its key.
        identity: Input,
    },
}

/// Refuses a request without an Idempotency-Key in a namespace that starts no job. With a key, the job may exist
/// already.
pub(crate) fn refuse_if_full(
    app: &App,
    tenant: &Tenant,
    idempotency_key: Option<&str>,
) -> Result<(), Problem> {
    match app.jobs.fullness(&tenant.namespace) {
        Some(full) if idempotency_key.is_none() => Err(CommitError::NamespaceFull(full).into()),
        _ => Ok(()),
    }
}

/// Creates the job, or returns the one that an equal request under the same Idempotency-Key created.
pub(crate) async fn submit(
    app: &App,
    tenant: &Tenant,
    submission: Submission,
) -> Result<InferenceJob, Problem> {
    let Submission {
        request,
        payload,
        idempotency_key,
        origin,
    } = submission;
    refuse_if_full(app, tenant, idempotency_key.as_deref())?;
    let (input, identity, mut picture) = match payload {
        Payload::Object { key } => (Input::Object { key }, None, None),
        Payload::Picture(bytes) => {
            let picture = StoredPicture::put(app, tenant, bytes).await?;
            (picture.input(), None, Some(picture))
        }
        Payload::Batch { input, identity } => (input, Some(identity), None),
    };
    let identity = identity.as_ref().unwrap_or(&input);
    let fingerprint = Fingerprint::of(&request, identity).map_err(Problem::internal)?;
    let naming = match idempotency_key {
        None => Naming::Random,
        Some(key) => Naming::Keyed {
            namespace: tenant.namespace.clone(),
            user: tenant.user.clone(),
            key,
        },
    };
    let commit = Commit {
        tenant,
        records: app.jobs.records(),
        writes: &app.writes,
        full: app.jobs.fullness(&tenant.namespace),
        jobs: &Api::namespaced(app.client.clone(), &tenant.namespace),
        naming: &naming,
        request: &request,
        input: &input,
        fingerprint: &fingerprint,
        origin: &origin,
        traceparent: crate::trace::current().map(|parent| parent.to_string()),
        request_timeout: app.config.timeouts.kube(),
        settle_timeout: app.config.timeouts.settle(),
    };
    let job = commit.run().await?;
    audit::record(Action::Create, tenant, &job.name_any());
    if let Some(picture) = &mut picture
        && let Err(problem) = picture.follow(app, tenant).await
    {
        // The job is committed, so the request has succeeded.
        tracing::warn!(
            job = job.metadata.name,
            ?problem,
            "whether the job's picture lies where it belongs is unknown"
        );
    }
    Ok(job)
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        let text = error.to_string();
        match error {
            CommitError::Refused(refusal) => refusal.into(),
            CommitError::Record(problem) | CommitError::NoTurn(problem) => *problem,
            CommitError::NamespaceFull(Full::FinishedJobs) => {
                Self::new(ProblemType::TooManyFinishedJobs, text).retry_after(30)
            }
            CommitError::NamespaceFull(Full::UnfinishedJobs) => {
                Self::new(ProblemType::TooManyUnfinishedJobs, text).retry_after(10)
            }
            CommitError::KeyReused | CommitError::KeySpent => Self::new(ProblemType::IdempotencyKeyReused, text),
            CommitError::Unavailable(_) | CommitError::Barred(_) => Self::new(
                ProblemType::ClusterUnavailable,
                "the job was not created and will not run: send the request again",
            )
            .caused_by(text)
            .retry_after(2),
            CommitError::Unknown { name, .. } => Self::new(
                ProblemType::OutcomeUnknown,
                "the cluster went away while the job was being created: it exists if its Location says so; a request repeated with the same Idempotency-Key cannot make it twice",
            )
            .caused_by(text)
            .located(format!("/v1/jobs/{name}"))
            .retry_after(5),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail =
            "the picture could not be stored, and no job was created: send the request again";
        Self::new(ProblemType::StoreUnavailable, detail)
            .caused_by(error)
            .retry_after(2)
    }
}

impl From<NamespaceError> for Problem {
    fn from(error: NamespaceError) -> Self {
        match error {
            NamespaceError::Missing(_) => {
                Self::new(ProblemType::NoSuchNamespace, error.to_string())
            }
            NamespaceError::Unavailable(..) => Self::new(
                ProblemType::ClusterUnavailable,
                "the cluster could not be reached, and nothing was done: send the request again",
            )
            .caused_by(error)
            .retry_after(2),
        }
    }
}
