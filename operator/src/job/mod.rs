//! A job: what the cache keeps of it, what to do about it, and how its status changes.

pub mod decide;
pub mod delivery;
pub mod notice;
pub mod retention;
pub mod retry;
pub mod status;
pub mod write;

use fovea_crds::{InferenceJob, Input, Phase, labels};
use jiff::Timestamp;
use kube::ResourceExt;
use std::sync::Arc;
use url::Url;

/// A job in the cache.
#[derive(Clone, Debug)]
pub enum Tracked {
    /// The job without what is not needed until it runs (see [`trim`]).
    Unfinished(Arc<InferenceJob>),
    /// The few facts kept of a finished job: there may be tens of thousands.
    Finished(Finished),
}

/// The facts that the callback and the deletion of a finished job need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// What the deletion is conditional on.
    pub resource_version: Box<str>,
    /// When it ended.
    pub ended: Timestamp,
    /// `spec.ttlSecondsAfterFinished`.
    pub ttl_seconds: Option<u32>,
    /// Whether the API created it rather than a user.
    pub made_by_api: bool,
    /// Its callback until that is delivered or given up; the job is kept until then.
    pub callback: Option<Box<Outgoing>>,
}

/// A callback that is still to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// When it is due.
    pub due: Timestamp,
    /// The receiver: the URL's host and port.
    pub receiver: Box<str>,
}

impl Tracked {
    /// Reduces `job` to what the cache needs.
    pub fn of(job: InferenceJob) -> Self {
        let phase = job
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default();
        if !phase.is_terminal() {
            return Self::Unfinished(Arc::new(trim(job)));
        }
        Self::Finished(Finished {
            namespace: job.namespace().unwrap_or_default().into(),
            name: job.name_any().into(),
            ended: ended(&job),
            callback: Outgoing::of(&job).map(Box::new),
            ttl_seconds: job.spec.ttl_seconds_after_finished,
            made_by_api: job
                .labels()
                .get(labels::CREATED_BY)
                .is_some_and(|by| by == labels::API),
            resource_version: job.resource_version().unwrap_or_default().into(),
        })
    }

    /// The version of the object that this was made from.
    pub fn resource_version(&self) -> &str {
        match self {
            Self::Unfinished(job) => job.metadata.resource_version.as_deref().unwrap_or_default(),
            Self::Finished(finished) => &finished.resource_version,
        }
    }

    /// Whether `other` was read later. Resource versions are decimal counters of one server
    /// (KEP-5504), so that a watch that lags behind our own write is recognised.
    pub fn is_older_than(&self, other: &Self) -> bool {
        match (
            self.resource_version().parse::<u64>(),
            other.resource_version().parse::<u64>(),
        ) {
            (Ok(own), Ok(other)) => own < other,
            _ => true,
        }
    }
}

/// Drops what a cache need not hold: managed fields, kubectl's copy of the manifest, and the
/// inline picture, which is read again when the job runs.
pub fn trim(mut job: InferenceJob) -> InferenceJob {
    job.metadata.managed_fields = None;
    job.annotations_mut()
        .remove("kubectl.kubernetes.io/last-applied-configuration");
    if let Input::Inline { data } = &mut job.spec.input {
        data.0 = Vec::new();
    }
    job
}

impl Outgoing {
    /// What a finished job's callback waits for; `None` where nothing is to be sent any more.
    fn of(job: &InferenceJob) -> Option<Self> {
        let due = delivery::due(job)?;
        let url = Url::parse(&job.spec.callback.as_ref()?.url).ok();
        let receiver = url.and_then(|url| {
            let port = url.port_or_known_default().unwrap_or_default();
            Some(format!("{}:{port}", url.host()?))
        });
        Some(Self {
            due,
            // An invalid URL fails at its first try; all of them share a lane.
            receiver: receiver.unwrap_or_default().into(),
        })
    }
}

/// When the job ended; its creation where the object does not say.
pub fn ended(job: &InferenceJob) -> Timestamp {
    let status = job.status.as_ref();
    let ended = status.and_then(|status| status.completion_time.as_ref());
    ended.map_or_else(|| created(job), |time| time.0)
}

/// When the job was created; the epoch's begin where the object does not say.
pub fn created(job: &InferenceJob) -> Timestamp {
    job.metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// The phase, Pending where there is no status yet.
pub fn phase(job: &InferenceJob) -> Phase {
    job.status
        .as_ref()
        .map(|status| status.phase)
        .unwrap_or_default()
}
