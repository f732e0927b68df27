//! Rule 2, act: the create is the commit. A create whose response was lost is settled before the
//! client gets its response.

use super::decide::{Failure, Owner, Refusal, classify, owner};
use super::fingerprint::{Fingerprint, Naming};
use super::manifest::{self, Origin};
use crate::auth::Tenant;
use crate::error::Problem;
use crate::jobs::{Full, Records};
use crate::validate::ValidRequest;
use crate::writes::Writes;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use fovea_crds::{InferenceJob, Input};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Maximum number of names per Idempotency-Key; each but the last is a tombstone.
pub const COMMIT_GENERATIONS: u8 = 8;
/// Attempts under one name that exists at the create and no longer at the read.
const MAX_RACES: u8 = 3;
/// Longest pause between two attempts to settle.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Pauses between attempts to settle; each is twice the one before.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(50))
    .with_max_delay(LONGEST_PAUSE)
    .without_max_times();

/// Why a job was not created, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(
        "the Idempotency-Key was used for a different request: repeat the first one as it was, or use a new key"
    )]
    KeyReused,
    #[error("{0}")]
    NamespaceFull(Full),
    /// Whether an earlier request under the key had a job could not be read; no job was created.
    #[error("{}", .0.detail)]
    Record(Box<Problem>),
    /// The tenant's other submissions and deletions took too long; no job was created.
    #[error("{}", .0.detail)]
    NoTurn(Box<Problem>),
    #[error("the Idempotency-Key has been used for too many requests that failed: use a new one")]
    KeySpent,
    /// The cluster did not answer; no job was created.
    #[error("the cluster could not be reached: {0}")]
    Unavailable(String),
    /// The create's response was lost, but a tombstone bars its name: no job was created.
    #[error("the answer to the create was lost, the job is barred: {0}")]
    Barred(String),
    /// The settle timeout passed before that was known.
    #[error("whether the job {name} was created is unknown: {cause}")]
    Unknown { name: String, cause: String },
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnfinishedJobs => {
                "the namespace has as many unfinished jobs as it may have, and others wait already: try again when some have ended, or cancel some"
            }
            Self::FinishedJobs => {
                "the namespace has too many finished jobs: delete some, or try again when they have been finished for a while"
            }
        })
    }
}

pub(crate) struct Commit<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) records: &'a Records,
    pub(crate) writes: &'a Writes,
    /// Why no job may be created, only found; `None` if one may.
    pub(crate) full: Option<Full>,
    pub(crate) jobs: &'a Api<InferenceJob>,
    pub(crate) naming: &'a Naming,
    pub(crate) request: &'a ValidRequest,
    pub(crate) input: &'a Input,
    pub(crate) fingerprint: &'a Fingerprint,
    pub(crate) origin: &'a Origin,
    pub(crate) traceparent: Option<String>,
    /// Bound on one request to the API server.
    pub(crate) request_timeout: Duration,
    /// Bound on settling as a whole.
    pub(crate) settle_timeout: Duration,
}

impl Commit<'_> {
    /// Creates the job, or returns the one that an equal request created.
    pub(crate) async fn run(&self) -> Result<InferenceJob, CommitError> {
        let generations = match self.naming {
            Naming::Random => 1,
            Naming::Keyed { .. } => COMMIT_GENERATIONS,
        };
        for generation in 0..generations {
            if let Some(job) = self.under(&self.naming.name(generation)).await? {
                return Ok(job);
            }
        }
        Err(CommitError::KeySpent)
    }

    /// Commits under one name; `None` if a tombstone has it.
    async fn under(&self, name: &str) -> Result<Option<InferenceJob>, CommitError> {
        let job = manifest::job(
            name,
            self.request,
            self.input,
            self.fingerprint,
            self.origin,
        );
        let job = manifest::traced(job, self.traceparent.as_deref());
        let job = manifest::submitted_by(job, &self.tenant.user);
        for _ in 0..MAX_RACES {
            // The job may have gone early, also since the last round.
            if let Naming::Keyed { .. } = self.naming {
                let recorded = self.records.find(self.tenant, name).await;
                match recorded.map_err(|problem| CommitError::Record(Box::new(problem)))? {
                    None => {}
                    Some(recorded) => return self.existing(recorded),
                }
            }
            let created = if self.full.is_some() {
                Err(Failure::Exists)
            } else {
                let turn = self.writes.turn(self.tenant.parties).await;
                let _turn = turn.map_err(|problem| CommitError::NoTurn(Box::new(problem)))?;
                self.create(&job).await
            };
            match created {
                Ok(created) => return Ok(Some(created)),
                Err(Failure::Refused(refusal)) => return Err(refusal.into()),
                Err(Failure::NotSent(cause)) => return Err(CommitError::Unavailable(cause)),
                Err(Failure::Lost(cause)) => return self.settle(job, cause).await.map(Some),
                Err(Failure::Exists) => {}
            }
            // The name is taken: by an equal request, a tombstone or a different request.
            match self.read(name).await.map_err(CommitError::Unavailable)? {
                Some(existing) => return self.existing(existing),
                None => {
                    if let Some(full) = self.full {
                        return Err(CommitError::NamespaceFull(full));
                    }
                }
            }
        }
        Err(CommitError::Unavailable(
            "the job keeps being deleted and created again".to_owned(),
        ))
    }

    /// The job that has the name already; `None` if it is a tombstone.
    fn existing(&self, job: InferenceJob) -> Result<Option<InferenceJob>, CommitError> {
        match owner(job, self.fingerprint) {
            Owner::Ours(job) => Ok(Some(*job)),
            Owner::Tombstone => Ok(None),
            Owner::Other => Err(CommitError::KeyReused),
        }
    }

    /// Determines whether the lost create succeeded, by creating a tombstone under its name.
    async fn settle(&self, job: InferenceJob, cause: String) -> Result<InferenceJob, CommitError> {
        let name = job.name_any();
        tracing::warn!(
            job = name,
            cause,
            "the answer to a create was lost, settling"
        );
        let tombstone = manifest::tombstone(job);
        match timeout(self.settle_timeout, self.take(&name, &tombstone)).await {
            Ok(Owner::Ours(job)) => Ok(*job),
            Ok(Owner::Tombstone) => Err(CommitError::Barred(cause)),
            Ok(Owner::Other) => Err(CommitError::KeyReused),
            Err(_) => Err(CommitError::Unknown { name, cause }),
        }
    }

    /// Retries, without bound, to create the tombstone; returns the owner of the name.
    async fn take(&self, name: &str, tombstone: &InferenceJob) -> Owner {
        let mut pauses = PAUSES.build();
        loop {
            let found = match self.create(tombstone).await {
                Ok(_) => return Owner::Tombstone,
                // The API server may refuse before it checks the name, such as for the quota that
                // the lost create used up. Only a read decides.
                Err(Failure::Exists | Failure::Refused(_)) => self.read(name).await.ok().flatten(),
                Err(Failure::NotSent(_) | Failure::Lost(_)) => None,
            };
            if let Some(existing) = found {
                return owner(existing, self.fingerprint);
            }
            sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    async fn create(&self, job: &InferenceJob) -> Result<InferenceJob, Failure> {
        match timeout(
            self.request_timeout,
            self.jobs.create(&PostParams::default(), job),
        )
        .await
        {
            Ok(Ok(created)) => Ok(created),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(Failure::Lost("no answer in time".to_owned())),
        }
    }

    /// Reads without a resourceVersion, which returns the current state.
    async fn read(&self, name: &str) -> Result<Option<InferenceJob>, String> {
        match timeout(self.request_timeout, self.jobs.get_opt(name)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}
