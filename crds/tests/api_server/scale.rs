//! A pool's /scale, as autoscalers and `kubectl scale` use it.

use crate::fixture::{Fixture, pool, set};
use anyhow::{Context, Result, ensure};
use fovea_crds::{RunnerPool, RunnerPoolStatus};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

#[tokio::test]
async fn scale_has_the_desired_and_current_replicas_and_the_selector() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<RunnerPool>(pool("scaled")).await?;
    let api: Api<RunnerPool> = fixture.api();
    let mut scaled = api.get("scaled").await?;
    let selector = "fovea.dev/pool=scaled".to_owned();
    scaled.status = Some(RunnerPoolStatus {
        replicas: 2,
        selector: Some(selector.clone()),
        ..RunnerPoolStatus::default()
    });
    api.replace_status("scaled", &PostParams::default(), &scaled)
        .await?;

    let scale = api.get_scale("scaled").await?;
    let spec = scale.spec.context("no spec")?;
    let status = scale.status.context("no status")?;
    assert_eq!(spec.replicas, Some(1));
    assert_eq!((status.replicas, status.selector), (2, Some(selector)));
    Ok(())
}

#[tokio::test]
async fn a_pool_is_scaled_by_patch_and_by_kubectl() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<RunnerPool>(pool("patched")).await?;
    let api: Api<RunnerPool> = fixture.api();
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    api.patch_scale("patched", &PatchParams::default(), &patch)
        .await?;
    assert_eq!(api.get("patched").await?.spec.replicas, 3);

    fixture
        .kubectl(
            &[
                "scale",
                "runnerpool/patched",
                "--current-replicas=3",
                "--replicas=0",
            ],
            "",
        )
        .await?;
    assert_eq!(api.get("patched").await?.spec.replicas, 0);
    Ok(())
}

#[tokio::test]
async fn a_pool_that_scales_itself_is_not_scaled_by_hand() -> Result<()> {
    let fixture = Fixture::new().await?;
    let mut auto = pool("auto");
    set(&mut auto, "spec.autoscaling", json!({"max": 4}));
    let mut external = pool("external");
    set(
        &mut external,
        "spec.external",
        json!({"endpoints": ["https://gpu-1.example.com"]}),
    );
    for (object, says) in [
        (
            auto,
            "spec.replicas and spec.autoscaling are mutually exclusive",
        ),
        (external, "one runner per entry of spec.external.endpoints"),
    ] {
        let name = object["metadata"]["name"]
            .as_str()
            .context("no name")?
            .to_owned();
        fixture.create::<RunnerPool>(object).await?;
        let resource = format!("runnerpool/{name}");
        let answer = fixture
            .kubectl(&["scale", &resource, "--replicas=3"], "")
            .await;
        let error = answer.err().with_context(|| format!("{name} was scaled"))?;
        ensure!(error.to_string().contains(says), "{error}");
    }
    Ok(())
}
