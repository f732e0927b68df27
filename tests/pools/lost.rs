//! Jobs outlive their operator, their runners, a kubelet, a whole node.

use anyhow::{Result, ensure};
use fovea_crds::{Phase, Task};
use fovea_harness::eventually;
use fovea_tests::Pods;
use fovea_tests::pods::{PATIENCE, is_skipped};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use std::time::Duration;

const JOBS: usize = 500;

const AT_A_TIME: usize = 8;

/// Jobs that have ended, by the operator's own word.
async fn ended(it: &Pods) -> Result<usize> {
    let jobs = it.jobs.list(&ListParams::default()).await?;
    let phase = |job: &&fovea_crds::InferenceJob| {
        let status = job.status.as_ref();
        status.is_some_and(|status| status.phase.is_terminal())
    };
    Ok(jobs.iter().filter(phase).count())
}

async fn progress(it: &Pods, more: usize) -> Result<()> {
    let before = ended(it).await?;
    let what = format!("{more} more jobs to end");
    let progress = eventually(&what, PATIENCE, async || {
        let now = ended(it).await?;
        let log = it.operator.log_tail();
        ensure!(now >= (before + more).min(JOBS), "{now} of {JOBS}\n{log}");
        Ok(())
    });
    Ok(progress.await?)
}

#[tokio::test]
async fn jobs_outlive_their_operator_their_runners_a_kubelet_and_a_node() -> Result<()> {
    if is_skipped() {
        return Ok(());
    }
    let flags = [
        // Short enough to wait for, and long enough for an API server that shares two cores with all
        // of this.
        "--lease-duration-ms=12000",
        "--lease-renew-deadline-ms=11000",
        "--lease-retry-period-ms=500",
    ];
    let mut it = Pods::start(2, &flags).await?;
    it.apply("busy", &json!({"replicas": 2})).await?;
    it.ready("busy", 2).await?;
    stream::iter(0..JOBS)
        .map(|number| {
            let it = &it;
            async move {
                it.submit(&format!("busy-{number}"), "busy", Task::ImageToText)
                    .await
            }
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect::<()>()
        .await?;

    progress(&it, 20).await?;
    it.another_operator().await?;
    progress(&it, 20).await?;

    // One at a time, with SIGKILL.
    let at_once = DeleteParams::default().grace_period(0);
    for pod in it.pods.list(&ListParams::default()).await? {
        it.pods.delete(&pod.name_any(), &at_once).await?;
        progress(&it, 20).await?;
    }

    it.cluster.nodes[0].kill_kubelet().await?;
    progress(&it, 20).await?;
    let control_plane = &it.cluster.control_plane;
    it.cluster.nodes[0].restart_kubelet(control_plane).await?;

    it.cluster.nodes[1].kill().await?;
    eventually("every job to end", 2 * PATIENCE, async || {
        let (ended, log) = (ended(&it).await?, it.operator.log_tail());
        ensure!(ended == JOBS, "{ended} of {JOBS}\n{log}");
        Ok(())
    })
    .await?;
    let jobs = it.jobs.list(&ListParams::default()).await?;
    for job in jobs {
        let (name, status) = (job.name_any(), job.status.unwrap_or_default());
        assert_eq!(status.phase, Phase::Succeeded, "{name}: {status:?}");
    }
    let faults = it.history.faults(&[]);
    ensure!(faults.is_empty(), "{faults:#?}");
    // The other node has room for a replacement.
    let replaced = Duration::from_mins(3);
    it.pool_where("busy", "to have two runners again", replaced, |status| {
        status.ready_replicas == 2
    })
    .await?;
    Ok(())
}
