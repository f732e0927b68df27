//! Models of the hub: imported once, by a Job of their own.

use crate::degraded::{self, REPORTED};
use anyhow::Result;
use fovea_crds::{JobResult, Task};
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::Pods;
use fovea_tests::hub::{COMMIT, REPO};
use fovea_tests::pods::{PATIENCE, condition, picture};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

fn captioner(revision: &str) -> Value {
    let source = json!({"huggingFace": {"repo": REPO, "revision": revision}});
    json!({"models": [{"name": "captioner", "task": "image-to-text", "source": source}]})
}

#[test]
fn a_wrong_revision_is_reported_and_a_right_one_imported_once_for_all_pools() -> Result<()> {
    Pods::shared(async |it| {
        it.apply("imported", &captioner("no-such-branch")).await?;
        degraded::degraded(it, "imported", "ImportFailed", &["no-such-branch"]).await?;
        it.apply("imported", &captioner("main")).await?;
        let status = it.ready("imported", 1).await?;
        assert_eq!(status.models[0].commit.as_deref(), Some(COMMIT));
        assert_eq!(status.models[0].revision.as_deref(), Some(COMMIT));
        it.submit("imported", "imported", Task::ImageToText).await?;
        let status = it.succeeded("imported").await?;
        assert_eq!(status.result, Some(JobResult::Caption(picture().1)));
        assert_eq!(status.model.unwrap().revision, COMMIT);

        // Another pool that names the commit finds it in the bucket.
        let imports = async || {
            let jobs: Api<Job> = Api::namespaced(it.client.clone(), SYSTEM_NAMESPACE);
            anyhow::Ok(jobs.list(&ListParams::default()).await?.items.len())
        };
        let before = imports().await?;
        it.apply("imported-again", &captioner(COMMIT)).await?;
        it.pool_where("imported-again", "to be Ready", PATIENCE, |status| {
            condition(status, "Ready")[0] == "True"
        })
        .await?;
        assert_eq!(imports().await?, before);
        for pool in ["imported", "imported-again"] {
            it.scale(pool, 0).await?;
            it.pool_where(pool, "to have no runners", REPORTED, |status| {
                status.ready_replicas == 0
            })
            .await?;
        }
        Ok(())
    })
}
