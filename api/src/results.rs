//! A job's whole result: from the status, or from the bucket if the status holds only its head.

use crate::error::{Problem, ProblemType};
use crate::shares::Parties;
use crate::state::App;
use fovea_crds::{InferenceJob, JobResult};
use fovea_store::{InvalidKey, ObjectKey, Sha256};
use kube::ResourceExt as _;

/// Largest result that is read, in bytes; a runner's response is bounded by a megabyte.
const MAX_BYTES: u64 = 2 * 1024 * 1024;
/// Memory of a result that is read, in bytes: its text, which grows by doubling, and what it decodes to.
const RESULT_BYTES: usize = 6 * 1024 * 1024;

/// The key of a result of which the status holds only the head.
pub(crate) fn key(job: &InferenceJob) -> Result<ObjectKey, InvalidKey> {
    let namespace = job.namespace().unwrap_or_default();
    ObjectKey::result(&namespace, &job.uid().unwrap_or_default())
}

/// The whole result, if there is one. Its memory is reserved while it is read and decoded.
pub(crate) async fn whole(
    app: &App,
    parties: Parties,
    job: &InferenceJob,
) -> Result<Option<JobResult>, Problem> {
    let Some(status) = &job.status else {
        return Ok(None);
    };
    let (Some(_), Some(sha256)) = (&status.result, &status.result_sha256) else {
        return Ok(status.result.clone());
    };
    let key = key(job).map_err(Problem::internal)?;
    let _turn = app.store_turn(parties).await?;
    let _reserved = app.responses.reserve(parties, RESULT_BYTES).await?;
    let bytes = app.store.get(&key, MAX_BYTES).await.map_err(|error| {
        let detail = "the result could not be read from the object store: try again";
        Problem::new(ProblemType::StoreUnavailable, detail)
            .caused_by(error)
            .retry_after(2)
    })?;
    if Sha256::of(&bytes).to_string() != *sha256 {
        return Err(Problem::internal(format!(
            "{key} is not what status.resultSha256 says"
        )));
    }
    let result = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::internal(format!("{key}: {error}")))?;
    Ok(Some(result))
}
