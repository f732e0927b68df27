//! Facts about a job that its object alone determines.

use super::{InferenceJob, InferenceJobStatus, Input, Phase};
use crate::annotations::SUBMITTED_BY;
use crate::labels;
use k8s_openapi::jiff::Timestamp;

/// Where a client-side `kubectl apply` keeps its copy of the manifest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

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

    /// The job as a cache keeps it: without managed fields, kubectl's copy of the manifest, the
    /// submitter's name and the inline picture, which is read again when the job runs.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        self.metadata.managed_fields = None;
        if let Some(annotations) = &mut self.metadata.annotations {
            annotations.remove(LAST_APPLIED);
            annotations.remove(SUBMITTED_BY);
        }
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
    fn a_trimmed_job_has_neither_picture_nor_copies_of_its_manifest() {
        let mut job = job("a", None);
        job.metadata.managed_fields = Some(Vec::new());
        let kept = ("team".to_owned(), "a".to_owned());
        let applied = (LAST_APPLIED.to_owned(), "{}".to_owned());
        let submitted = (SUBMITTED_BY.to_owned(), "jane".to_owned());
        job.metadata.annotations = Some([kept.clone(), applied, submitted].into());
        let trimmed = job.trimmed();
        assert_eq!(trimmed.metadata.managed_fields, None);
        assert_eq!(trimmed.metadata.annotations, Some([kept].into()));
        assert!(matches!(trimmed.spec.input, Input::Inline { data } if data.0.is_empty()));
    }
}
