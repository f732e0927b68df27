//! Results that are too large for a status.

use crate::job::retry::Success;
use crate::job::status::{Begun, StoredResult};
use bytes::Bytes;
use fovea_crds::bounds::MAX_RESULT_BYTES;
use fovea_crds::{InferenceJob, JobResult};
use fovea_store::{InvalidKey, ObjectKey, Sha256};

/// The object of a result that is too large for a status.
#[derive(Debug)]
pub(super) struct LargeResult {
    pub key: ObjectKey,
    pub json: Bytes,
    pub summary: StoredResult,
}

impl LargeResult {
    /// `None` if the status holds the whole result.
    pub(super) fn of(job: &InferenceJob, result: &JobResult) -> Result<Option<Self>, InvalidKey> {
        // The types of a result have no maps, and so no keys that JSON cannot hold.
        let json = serde_json::to_vec(result).unwrap_or_default();
        if json.len() <= MAX_RESULT_BYTES && *result == result.clone().clipped() {
            return Ok(None);
        }
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        Ok(Some(Self {
            key: ObjectKey::result(namespace, uid)?,
            summary: StoredResult {
                bytes: json.len() as u64,
                sha256: Sha256::of(&json).to_string(),
            },
            json: json.into(),
        }))
    }
}

/// The end of an attempt whose result must be in the bucket before the job succeeds.
#[derive(Debug)]
pub(super) struct Unstored {
    pub job: InferenceJob,
    pub begun: Begun,
    /// With the part of the result that a status holds.
    pub success: Success,
    pub large: LargeResult,
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::Prediction;

    #[test]
    fn a_result_that_fits_into_a_status_is_no_object() {
        let mut job = crate::fixtures::job();
        job.metadata.namespace = Some("team-a".to_owned());
        job.metadata.uid = Some("u".to_owned());
        let labels = |count| {
            let label = || Prediction {
                label: "x".repeat(60),
                score: 0.5,
            };
            JobResult::Predictions(std::iter::repeat_with(label).take(count).collect())
        };
        assert!(LargeResult::of(&job, &labels(3)).unwrap().is_none());
        let large = LargeResult::of(&job, &labels(3000)).unwrap().unwrap();
        assert_eq!(large.key.as_str(), "results/team-a/u.json");
        assert_eq!(large.summary.bytes, large.json.len() as u64);
        assert!(large.json.len() > MAX_RESULT_BYTES);
    }
}
