//! Facts about a job that its object alone determines.

use super::{InferenceJob, InferenceJobStatus, Input, Phase};
use crate::{annotations, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

/// Longest label or annotation that is kept: those that the API writes are shorter.
const MAX_KEPT_BYTES: usize = 128;

/// Whether programs read the label.
pub(super) fn is_kept_label(key: &str, value: &str) -> bool {
    let ours = [labels::CREATED_BY, labels::CLIENT, labels::VELERO_RESTORE];
    value.len() <= MAX_KEPT_BYTES && ours.contains(&key)
}

/// Whether programs read the annotation. What holds a job is kept whatever its value.
pub(super) fn is_kept_annotation(key: &str, value: &str) -> bool {
    if key == annotations::RESTORED {
        return true;
    }
    let ours = [
        annotations::FINGERPRINT,
        annotations::TRACEPARENT,
        annotations::TOMBSTONE,
    ];
    value.len() <= MAX_KEPT_BYTES && ours.contains(&key)
}

/// Cuts a kept value to its bound.
pub(super) fn cut(value: &mut String) {
    value.truncate(value.floor_char_boundary(MAX_KEPT_BYTES));
}

/// Whether resource version `a` is older than `b` of the same object. Resource versions are decimal
/// counters (KEP-5504). A version that is not a number is not older: callers drop older versions,
/// and a wrongly dropped version may be the last one that they receive.
pub fn resource_version_is_older(a: &str, b: &str) -> bool {
    matches!((a.parse::<u64>(), b.parse::<u64>()), (Ok(a), Ok(b)) if a < b)
}

impl InferenceJob {
    /// The phase; Pending where there is no status yet.
    pub fn phase(&self) -> Phase {
        let phase = |status: &InferenceJobStatus| status.phase;
        self.status.as_ref().map(phase).unwrap_or_default()
    }

    /// Whether the phase is a terminal one.
    pub fn is_finished(&self) -> bool {
        self.phase().is_terminal()
    }

    /// Time of the job's creation; the Unix epoch if the object has none.
    pub fn created(&self) -> Timestamp {
        let created = self.metadata.creation_timestamp.as_ref();
        created.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    }

    /// Time at which the job reached its terminal phase; its creation if the object has none.
    pub fn ended(&self) -> Timestamp {
        let status = self.status.as_ref();
        let ended = status.and_then(|status| status.completion_time.as_ref());
        ended.map_or_else(|| self.created(), |time| time.0)
    }

    /// Whether the API created it, rather than a user.
    pub fn is_made_by_api(&self) -> bool {
        let all = self.metadata.labels.as_ref();
        let by = all.and_then(|all| all.get(labels::CREATED_BY));
        by.is_some_and(|by| by == labels::API)
    }

    /// Whether this is an earlier version of the same object as `other`, as
    /// [`resource_version_is_older`] compares them. An object with another uid is not older.
    pub fn is_older_than(&self, other: &Self) -> bool {
        let versions = (
            self.metadata.resource_version.as_deref(),
            other.metadata.resource_version.as_deref(),
        );
        self.metadata.uid == other.metadata.uid
            && matches!(versions, (Some(own), Some(other)) if resource_version_is_older(own, other))
    }

    /// The job as the programs keep it: of its metadata what they read, and without the inline picture,
    /// which is read again when the job runs.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        let ObjectMeta {
            mut annotations,
            creation_timestamp,
            deletion_timestamp,
            generation,
            mut labels,
            name,
            namespace,
            resource_version,
            uid,
            ..
        } = self.metadata;
        if let Some(annotations) = &mut annotations {
            annotations.retain(|key, value| is_kept_annotation(key, value));
            annotations.values_mut().for_each(cut);
        }
        if let Some(labels) = &mut labels {
            labels.retain(|key, value| is_kept_label(key, value));
        }
        self.metadata = ObjectMeta {
            annotations: annotations.filter(|map| !map.is_empty()),
            creation_timestamp,
            deletion_timestamp,
            generation,
            labels: labels.filter(|map| !map.is_empty()),
            name,
            namespace,
            resource_version,
            uid,
            ..ObjectMeta::default()
        };
        if let Input::Inline { data } = &mut self.spec.input {
            data.0 = Vec::new();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InferenceJobSpec, Task};
    use k8s_openapi::ByteString;

    fn job(uid: &str, version: Option<&str>) -> InferenceJob {
        let data = ByteString(vec![1, 2, 3]);
        let spec = InferenceJobSpec::new(Task::ImageToText, Input::Inline { data });
        let mut job = InferenceJob::new("cat", spec);
        job.metadata.uid = Some(uid.to_owned());
        job.metadata.resource_version = version.map(str::to_owned);
        job
    }

    #[test]
    fn a_resource_version_is_older_only_if_both_are_numbers() {
        assert!(resource_version_is_older("9", "10"));
        for (a, b) in [("10", "9"), ("9", "9"), ("", "9"), ("9", ""), ("a", "b")] {
            assert!(!resource_version_is_older(a, b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn versions_of_one_object_are_compared_as_numbers() {
        assert!(job("a", Some("9")).is_older_than(&job("a", Some("10"))));
        assert!(!job("a", Some("10")).is_older_than(&job("a", Some("9"))));
        assert!(!job("a", Some("9")).is_older_than(&job("a", Some("9"))));
    }

    #[test]
    fn what_cannot_be_compared_is_not_older() {
        for version in [None, Some(""), Some("abc")] {
            assert!(!job("a", version).is_older_than(&job("a", Some("9"))));
            assert!(!job("a", Some("9")).is_older_than(&job("a", version)));
        }
        assert!(!job("a", Some("9")).is_older_than(&job("b", Some("10"))));
    }

    #[test]
    fn a_job_without_a_status_is_pending_and_ends_when_it_was_created() {
        let job = job("a", None);
        assert_eq!(job.phase(), Phase::Pending);
        assert!(!job.is_finished());
        assert_eq!(job.ended(), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn a_trimmed_job_has_neither_picture_nor_foreign_metadata() {
        let mut job = job("a", Some("9"));
        job.metadata.managed_fields = Some(Vec::new());
        job.metadata.finalizers = Some(vec!["example.com/f".to_owned()]);
        let kept = (annotations::TOMBSTONE.to_owned(), "true".to_owned());
        let long = (annotations::TRACEPARENT.to_owned(), "0".repeat(129));
        let submitted = (annotations::SUBMITTED_BY.to_owned(), "jane".to_owned());
        let foreign = ("team".to_owned(), "a".to_owned());
        job.metadata.labels = Some([foreign.clone()].into());
        job.metadata.annotations = Some([kept.clone(), long, submitted, foreign].into());
        let trimmed = job.trimmed();
        let expected = ObjectMeta {
            name: Some("cat".to_owned()),
            uid: Some("a".to_owned()),
            resource_version: Some("9".to_owned()),
            annotations: Some([kept].into()),
            ..ObjectMeta::default()
        };
        assert_eq!(trimmed.metadata, expected);
        assert!(matches!(trimmed.spec.input, Input::Inline { data } if data.0.is_empty()));
    }
}
