//! Marks of a job that a tool has created again from a copy, and that so has lost its status.

use super::InferenceJob;
use crate::{annotations, labels};

/// What holds a job that was created again until a person lets it run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreMark {
    /// The annotation [`annotations::RESTORED`].
    Annotation,
    /// Velero's label, without that annotation.
    Velero,
}

impl InferenceJob {
    /// The mark that holds the job; `None` if it may run.
    pub fn restore_mark(&self) -> Option<RestoreMark> {
        let labels = self.metadata.labels.as_ref();
        match self.restored() {
            Some(annotations::RESTORED_RUN) => None,
            Some(_) => Some(RestoreMark::Annotation),
            None if labels.is_some_and(|all| all.contains_key(labels::VELERO_RESTORE)) => {
                Some(RestoreMark::Velero)
            }
            None => None,
        }
    }

    /// Whether the job was let run, whatever else would hold it as a restored one.
    pub fn is_released(&self) -> bool {
        self.restored() == Some(annotations::RESTORED_RUN)
    }

    /// Whether `spec.suspend` or a mark of a restore holds the job.
    pub fn is_held(&self) -> bool {
        self.spec.suspend || self.restore_mark().is_some()
    }

    fn restored(&self) -> Option<&str> {
        let all = self.metadata.annotations.as_ref()?;
        all.get(annotations::RESTORED).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InferenceJobSpec, Input, Task};

    fn job(annotation: Option<&str>, label: Option<&str>) -> InferenceJob {
        let map = |key: &str, value: Option<&str>| {
            value.map(|value| [(key.to_owned(), value.to_owned())].into())
        };
        let input = Input::Object { key: "a".into() };
        let mut job = InferenceJob::new("a", InferenceJobSpec::new(Task::ImageToText, input));
        job.metadata.annotations = map(annotations::RESTORED, annotation);
        job.metadata.labels = map(labels::VELERO_RESTORE, label);
        job.trimmed()
    }

    #[test]
    fn a_marked_job_is_held_until_its_annotation_is_run() {
        let (annotation, velero) = (Some(RestoreMark::Annotation), Some(RestoreMark::Velero));
        for (job, expected) in [
            (job(None, None), None),
            (job(Some("hold"), None), annotation),
            // A tool of its own words is not run by mistake.
            (job(Some("true"), None), annotation),
            (job(Some("run"), None), None),
            (job(None, Some("nightly")), velero),
            (job(Some("hold"), Some("nightly")), annotation),
            (job(Some("run"), Some("nightly")), None),
        ] {
            assert_eq!(job.restore_mark(), expected, "{:?}", job.metadata);
            assert_eq!(job.is_held(), expected.is_some());
        }
        let mut suspended = job(Some("run"), None);
        suspended.spec.suspend = true;
        assert!(suspended.is_held());
    }
}
