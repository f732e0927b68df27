//! Many jobs at once.

use fovea_crds::{InferenceJob, bounds};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

const IN_FLIGHT: usize = 64;

pub async fn create(
    jobs: &Api<InferenceJob>,
    crowd: impl IntoIterator<Item = InferenceJob>,
) -> anyhow::Result<()> {
    let create = |job| async move { jobs.create(&PostParams::default(), &job).await.map(drop) };
    let creating = futures::stream::iter(crowd).map(create);
    Ok(creating.buffer_unordered(IN_FLIGHT).try_collect().await?)
}

/// Creates them all, and has them ended with a caption: no operator must run.
pub async fn create_finished(
    jobs: &Api<InferenceJob>,
    crowd: impl IntoIterator<Item = InferenceJob>,
) -> anyhow::Result<()> {
    create_captioned(jobs, crowd, "a blue ring, a red heart and a green circle").await
}

/// A caption that is as long in JSON as one may be: each character takes two bytes.
pub fn longest_caption() -> String {
    "\"".repeat(bounds::MAX_CAPTION_LENGTH as usize)
}

/// Creates them all, and has them ended with this caption: they must be suspended, or no operator may run.
pub async fn create_captioned(
    jobs: &Api<InferenceJob>,
    crowd: impl IntoIterator<Item = InferenceJob>,
    caption: &str,
) -> anyhow::Result<()> {
    let summary: String = caption
        .chars()
        .take(bounds::MAX_SUMMARY_LENGTH as usize)
        .collect();
    let summary = summary.as_str();
    let create = |job: InferenceJob| async move {
        jobs.create(&PostParams::default(), &job).await?;
        let now = jiff::Timestamp::now().to_string();
        let status = json!({"status": {
            "phase": "Succeeded", "attempts": 1, "startTime": now, "completionTime": now,
            "result": {"caption": caption}, "summary": summary,
        }});
        let (patch, params) = (Patch::Merge(&status), PatchParams::default());
        jobs.patch_status(&job.name_any(), &params, &patch).await?;
        anyhow::Ok(())
    };
    let creating = futures::stream::iter(crowd).map(create);
    creating.buffer_unordered(IN_FLIGHT).try_collect().await
}
