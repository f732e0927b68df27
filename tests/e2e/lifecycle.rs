//! Changes that a user may make: suspend, cancel, and the time to live.

use crate::support::{
    create, ended, has_condition, inline, jobs, patch, sample, status_where, unique,
};
use anyhow::{Result, ensure};
use fovea_crds::{InferenceJobStatus, Phase, conditions};
use fovea_harness::eventually;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::Duration;

fn is_suspended(status: &InferenceJobStatus) -> bool {
    has_condition(status, "Suspended", "True")
}

/// Creates a job that is suspended, and waits until its status says so.
async fn suspended(name: &str) -> Result<InferenceJobStatus> {
    let mut job = inline(name, &sample().0);
    job.spec.suspend = true;
    create(&job).await?;
    status_where(name, "to be suspended", is_suspended).await
}

#[tokio::test]
async fn a_suspended_job_runs_once_it_is_resumed() -> Result<()> {
    let name = unique("suspended");
    let held = suspended(&name).await?;
    assert_eq!((held.phase, held.attempts), (Phase::Pending, 0));
    patch(&name, json!({"suspend": false})).await?;
    let status = ended(&name).await?;
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    assert!(has_condition(&status, "Complete", "True"));
    Ok(())
}

#[tokio::test]
async fn a_cancelled_job_ends_without_a_result_and_stays_so() -> Result<()> {
    let name = unique("cancelled");
    suspended(&name).await?;
    patch(&name, json!({"cancel": true})).await?;
    let status = ended(&name).await?;
    assert_eq!(status.phase, Phase::Cancelled);
    assert!(status.result.is_none() && status.failure.is_none());
    patch(&name, json!({"suspend": false})).await?;
    assert_eq!(ended(&name).await?.phase, Phase::Cancelled);
    Ok(())
}

#[tokio::test]
async fn a_finished_job_is_deleted_after_its_time_to_live() -> Result<()> {
    let name = unique("ttl");
    let mut job = inline(&name, &sample().0);
    job.spec.ttl_seconds_after_finished = Some(1);
    create(&job).await?;
    let api = jobs().await;
    eventually("the job to be deleted", Duration::from_mins(1), || async {
        ensure!(api.get_opt(&name).await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_job_of_another_manager_is_ignored() -> Result<()> {
    let (picture, _) = sample();
    let (foreign, own) = (unique("foreign"), unique("own"));
    let mut job = inline(&foreign, &picture);
    job.spec.managed_by = Some("example.com/somebody-else".into());
    create(&job).await?;
    // A job that came later has ended: had the first one been ours, it would have a status of its own.
    create(&inline(&own, &picture)).await?;
    ended(&own).await?;
    let status = jobs().await.get(&foreign).await?.status;
    let observed = status.and_then(|status| status.observed_generation);
    assert_eq!(observed, Some(conditions::UNOBSERVED));
    Ok(())
}

#[tokio::test]
async fn a_client_that_labels_a_job_without_end_does_not_keep_it_from_its_end() -> Result<()> {
    let name = unique("labelled");
    create(&inline(&name, &sample().0)).await?;
    let api = jobs().await;
    let labels = async {
        for number in 0.. {
            let label = json!({"metadata": {"labels": {"number": number.to_string()}}});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(label))
                .await?;
        }
        anyhow::Ok(())
    };
    let status = tokio::select! {
        status = ended(&name) => status?,
        failed = labels => return failed,
    };
    let end = (status.phase, status.attempts);
    assert_eq!(end, (Phase::Succeeded, 1), "{status:?}");
    Ok(())
}
