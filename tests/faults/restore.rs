//! etcd is restored from an older snapshot, under an API and a runner that go on.

use crate::{SHORT, create, start};
use anyhow::{Result, ensure};
use fovea_harness::{Stack, eventually, stack};
use fovea_tests::demo::first;
use fovea_tests::jobs::ended;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use reqwest::multipart::{Form, Part};
use serde_json::json;
use std::time::{Duration, Instant};

/// Bound on every wait.
const PATIENCE: Duration = Duration::from_mins(2);

/// Writes after the snapshot. The restored cluster needs minutes for as many: until then a watch that
/// goes on from before the restore shows nothing.
const WRITES: u32 = 2000;

/// Uploads a picture and waits up to 20 s for its result; returns how long that took.
async fn upload(stack: &Stack) -> Result<Duration> {
    let begun = Instant::now();
    let (picture, _) = first::<String>("captions.json");
    let form = Form::new().part("file", Part::bytes(picture).file_name("picture.jpg"));
    let request = reqwest::Client::new()
        .post(format!("{}/v1/jobs", stack.api_url()))
        .header("prefer", "wait=20")
        .multipart(form);
    let answer = request.send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status == 200, "{status}: {text}");
    Ok(begun.elapsed())
}

async fn write_often(stack: &Stack) -> Result<()> {
    let client = stack.control_plane.client().await?;
    let maps: Api<ConfigMap> = Api::namespaced(client, stack::JOB_NAMESPACE);
    let params = PatchParams::apply("test").force();
    let write = async |number: u32| {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "written"},
            "data": {"number": number.to_string()},
        });
        maps.patch("written", &params, &Patch::Apply(map)).await
    };
    let writes = stream::iter((0..WRITES).map(write)).buffer_unordered(16);
    Ok(writes.try_for_each(async |_| Ok(())).await?)
}

/// The operator loses its lease and ends, and the test starts it again, as the kubelet does. Nothing
/// else is restarted.
#[tokio::test]
async fn after_a_restore_of_etcd_uploads_are_answered_by_the_api_and_the_runner_of_before()
-> Result<()> {
    let (mut stack, jobs) = start(&SHORT).await?;
    upload(&stack).await?;
    let snapshot = stack.control_plane.snapshot().await?;
    for _ in 0..3 {
        stack.operator.restart().await?;
        eventually("the next leader", PATIENCE, || upload(&stack)).await?;
    }
    write_often(&stack).await?;
    stack.control_plane.restore(&snapshot).await?;
    let exit = stack.operator.wait(PATIENCE).await?;
    ensure!(!exit.success(), "{}", stack.operator.log_tail());
    stack.operator.restart().await?;

    // By the cluster: the API may not be the first to notice that there is a leader.
    create(&jobs, "after").await?;
    ended(&jobs, "after").await?;
    let took = upload(&stack).await?;
    ensure!(took < Duration::from_secs(10), "{took:?}");
    let ready = reqwest::get(format!("{}/readyz", stack.api_url())).await?;
    ensure!(ready.status() == 200, "{}", ready.text().await?);
    eventually("every job to end", PATIENCE, async || {
        let jobs = jobs.list(&ListParams::default()).await?;
        let open = jobs.items.iter().filter(|job| !job.is_finished()).count();
        ensure!(open == 0, "{open} have not");
        Ok(())
    })
    .await?;
    stack.stop().await?;
    Ok(())
}
