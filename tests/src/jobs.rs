//! Jobs by their custom resources, and waits for what becomes of them.

use anyhow::{Result, ensure};
use fovea_crds::{InferenceJob, InferenceJobSpec, InferenceJobStatus, Input, Task};
use fovea_harness::eventually;
use k8s_openapi::ByteString;
use kube::Api;
use std::time::Duration;

/// Bound on every wait, for a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(4);

/// A job for the caption of a picture that is in it.
pub fn inline(name: &str, picture: &[u8]) -> InferenceJob {
    let data = ByteString(picture.to_vec());
    let spec = InferenceJobSpec::new(Task::ImageToText, Input::Inline { data });
    InferenceJob::new(name, spec)
}

/// Waits until `wanted` holds for a job's status.
pub async fn status_where(
    jobs: &Api<InferenceJob>,
    name: &str,
    what: &str,
    wanted: impl Fn(&InferenceJobStatus) -> bool,
) -> Result<InferenceJobStatus> {
    let what = format!("{name} {what}");
    let found = eventually(&what, PATIENCE, async || {
        let status = jobs.get(name).await?.status.unwrap_or_default();
        ensure!(wanted(&status), "{status:?}");
        Ok(status)
    });
    Ok(found.await?)
}

pub async fn ended(jobs: &Api<InferenceJob>, name: &str) -> Result<InferenceJobStatus> {
    status_where(jobs, name, "to end", |status| status.phase.is_terminal()).await
}
