//! A job: its cached form, decisions about it, and changes of its status.

pub(crate) mod decide;
pub(crate) mod delivery;
pub(crate) mod notice;
pub(crate) mod quota;
pub(crate) mod retention;
pub(crate) mod retry;
pub(crate) mod status;
pub(crate) mod suspension;
pub(crate) mod write;

use crate::time::later;
use fovea_crds::conditions::{self, ACCEPTED};
use fovea_crds::{
    InferenceJob, InferenceJobSpec, Input, MANAGER, annotations, labels, resource_version_is_older,
};
use fovea_store::can_have_record;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::core::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;

#[derive(Clone, Debug)]
pub(crate) enum Tracked {
    /// The trimmed job (see [`InferenceJob::trimmed`]).
    Unfinished(Arc<InferenceJob>),
    /// The facts kept of a finished job, few because there may be tens of thousands of them.
    Finished(Finished),
}

/// The facts that the callback and the deletion of a finished job need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// `metadata.resourceVersion`, the precondition of its deletion.
    pub resource_version: Box<str>,
    /// `metadata.generation`, if the spec was edited after the job ended: its status does not tell yet that
    /// the edit was seen.
    pub unobserved: Option<i64>,
    pub ended: Timestamp,
    pub ttl_seconds: Option<u32>,
    /// Whether the API created it and answers from a record of it. A tombstone has none: it bars its
    /// name.
    pub recordable: bool,
    /// Its callback, until it is delivered or given up; the job is not deleted before.
    pub callback: Option<Box<Outgoing>>,
}

/// A callback that is not yet delivered or given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub due: Timestamp,
    /// The receiver: the URL's host and port.
    pub receiver: Box<str>,
}

impl Tracked {
    /// Reduces `job` to what the cache needs.
    pub(crate) fn of(job: InferenceJob) -> Self {
        if !job.is_finished() {
            return Self::Unfinished(Arc::new(job.trimmed()));
        }
        Self::Finished(Finished {
            namespace: job.namespace().unwrap_or_default().into(),
            name: job.name_any().into(),
            unobserved: unobserved(&job),
            ended: job.ended(),
            callback: Outgoing::of(&job).map(Box::new),
            ttl_seconds: job.spec.ttl_seconds_after_finished,
            recordable: can_have_record(&job.name_any())
                && job.is_made_by_api()
                && !job.annotations().contains_key(annotations::TOMBSTONE),
            resource_version: job.resource_version().unwrap_or_default().into(),
        })
    }

    /// Resource version of the object that this was made from.
    pub(crate) fn resource_version(&self) -> &str {
        match self {
            Self::Unfinished(job) => job.metadata.resource_version.as_deref().unwrap_or_default(),
            Self::Finished(finished) => &finished.resource_version,
        }
    }

    /// Whether this is an earlier version of the same job as `other`: a watch may lag behind our
    /// own write. See [`resource_version_is_older`] for versions that cannot be compared.
    pub(crate) fn is_older_than(&self, other: &Self) -> bool {
        resource_version_is_older(self.resource_version(), other.resource_version())
    }
}

/// The generation that a finished job's status does not name, if that status is ours. One that names none
/// tells tools nothing wrong.
fn unobserved(job: &InferenceJob) -> Option<i64> {
    let ours = job
        .spec
        .managed_by
        .as_deref()
        .is_none_or(|by| by == MANAGER);
    let observed = job.status.as_ref()?.observed_generation?;
    let generation = job.metadata.generation?;
    (ours && observed != generation).then_some(generation)
}

/// Whether an unfinished job was accepted, or has begun, and so keeps its place in its namespace.
pub(crate) fn is_accepted(job: &InferenceJob) -> bool {
    let Some(status) = &job.status else {
        return false;
    };
    status.start_time.is_some() || conditions::get_true(&status.conditions, ACCEPTED).is_some()
}

/// An unfinished job reduced to what it needs while it waits for room in its namespace: the number of such
/// jobs is up to those who create them.
pub(crate) fn reduced(job: &InferenceJob) -> InferenceJob {
    let kept = |map: &Option<BTreeMap<String, String>>, key: &str| {
        let (key, value) = map.as_ref()?.get_key_value(key)?;
        Some([(key.clone(), value.clone())].into())
    };
    let metadata = ObjectMeta {
        annotations: kept(&job.metadata.annotations, annotations::RESTORED),
        labels: kept(&job.metadata.labels, labels::VELERO_RESTORE),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        generation: job.metadata.generation,
        creation_timestamp: job.metadata.creation_timestamp.clone(),
        deletion_timestamp: job.metadata.deletion_timestamp.clone(),
        ..ObjectMeta::default()
    };
    let input = Input::Object { key: String::new() };
    let spec = InferenceJobSpec {
        cancel: job.spec.cancel,
        suspend: job.spec.suspend,
        managed_by: job.spec.managed_by.clone(),
        queue_deadline_seconds: job.spec.queue_deadline_seconds,
        active_deadline_seconds: job.spec.active_deadline_seconds,
        ..InferenceJobSpec::new(job.spec.task, input)
    };
    InferenceJob {
        metadata,
        spec,
        status: job.status.clone(),
    }
}

impl Finished {
    /// Time at which it expires; `None` without a TTL or while its callback is pending.
    pub(crate) fn expires(&self) -> Option<Timestamp> {
        if self.callback.is_some() {
            return None;
        }
        let ttl = SignedDuration::from_secs(i64::from(self.ttl_seconds?));
        Some(later(self.ended, ttl))
    }

    /// Whether the object may be deleted early, with a record that answers for it until it expires.
    pub(crate) fn may_have_record(&self) -> bool {
        self.recordable && self.expires().is_some()
    }
}

impl Outgoing {
    /// The pending callback of a finished job; `None` if there is none.
    fn of(job: &InferenceJob) -> Option<Self> {
        let due = delivery::due(job)?;
        let url = Url::parse(&job.spec.callback.as_ref()?.url).ok();
        let receiver = url.and_then(|url| {
            let port = url.port_or_known_default().unwrap_or_default();
            Some(format!("{}:{port}", url.host()?))
        });
        Some(Self {
            due,
            // An invalid URL fails at its first attempt; all of them share a lane.
            receiver: receiver.unwrap_or_default().into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use fovea_crds::{InferenceJobStatus, Phase};

    #[test]
    fn an_edit_of_a_finished_job_is_unobserved_until_its_status_names_it() {
        let mut job = fixtures::job();
        job.metadata.generation = Some(2);
        job.status = Some(InferenceJobStatus {
            phase: Phase::Succeeded,
            observed_generation: Some(1),
            ..InferenceJobStatus::default()
        });
        assert_eq!(unobserved(&job), Some(2));
        let mut foreign = job.clone();
        foreign.spec.managed_by = Some("example.com/other".to_owned());
        assert_eq!(unobserved(&foreign), None);
        for observed in [Some(2), None] {
            job.status.as_mut().unwrap().observed_generation = observed;
            assert_eq!(unobserved(&job), None);
        }
    }
}
