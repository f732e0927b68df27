//! A pool's status reports a fault within half a minute, and its end after the repair.

use anyhow::Result;
use fovea_crds::{RunnerPoolStatus, Task};
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::Pods;
use fovea_tests::pods::{PATIENCE, condition};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::time::Duration;

/// Bound on the time from a fault to its report in the status.
pub(crate) const REPORTED: Duration = Duration::from_secs(30);

/// Waits until the pool says that it is degraded for `reason`, by a message with all of `words`.
pub(crate) async fn degraded(it: &Pods, pool: &str, reason: &str, words: &[&str]) -> Result<()> {
    let says = |status: &RunnerPoolStatus| {
        let [value, why, message] = condition(status, "Degraded");
        value == "True" && why == reason && words.iter().all(|word| message.contains(word))
    };
    it.pool_where(pool, &format!("to report {reason}"), REPORTED, says)
        .await?;
    Ok(())
}

/// Waits until the pool is well, and has it caption a picture.
async fn well(it: &Pods, pool: &str) -> Result<()> {
    let well = |status: &RunnerPoolStatus| {
        let ready = condition(status, "Ready")[0] == "True";
        ready && condition(status, "Degraded")[0] == "False"
    };
    it.pool_where(pool, "to be well", PATIENCE, well).await?;
    let job = format!("{pool}-is-well");
    it.submit(&job, pool, Task::ImageToText).await?;
    it.succeeded(&job).await?;
    it.scale(pool, 0).await
}

fn small(more: &Value) -> Value {
    let mut template = json!({"resources": {"requests": {"cpu": "100m", "memory": "300Mi"}}});
    let fields = more.as_object().cloned().unwrap_or_default();
    template.as_object_mut().unwrap().extend(fields);
    json!({"template": template})
}

#[test]
fn an_image_that_cannot_be_had() -> Result<()> {
    Pods::shared(async |it| {
        let wrong = small(&json!({"image": "localhost/fovea-runner:no-such-tag"}));
        it.apply("pictureless", &wrong).await?;
        degraded(it, "pictureless", "ImagePullBackOff", &["no-such-tag"]).await?;
        it.apply("pictureless", &small(&json!({}))).await?;
        well(it, "pictureless").await
    })
}

#[test]
fn weights_that_are_not_there() -> Result<()> {
    Pods::shared(async |it| {
        let model = |prefix: &str| {
            json!({"models": [{
                "name": "captioner", "task": "image-to-text", "source": {"object": {"prefix": prefix}},
            }]})
        };
        it.apply("weightless", &model("demo/none")).await?;
        let words = ["captioner", "models/demo/none/", "fovea-manifest.json"];
        degraded(it, "weightless", "WeightsMissing", &words).await?;
        it.apply("weightless", &model("demo/blip")).await?;
        well(it, "weightless").await
    })
}

/// A disk at a path of the node, removed with the node.
async fn disk(it: &Pods, path: &str, size: &str) -> Result<()> {
    let options = format!("size={size},mode=777");
    let mount = ["mount", "-t", "tmpfs", "-o", &options, "tmpfs", path];
    it.cluster.nodes[0].run(&mount).await?;
    Ok(())
}

/// A claim on a path of the node, and its volume; both have the same name.
async fn claim(it: &Pods, name: &str, path: &str) -> Result<()> {
    let node = &it.cluster.nodes[0];
    let on_the_node = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name()]},
    ]}]}});
    let storage = json!({"storage": "1Mi"});
    let volume: PersistentVolume = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "capacity": storage, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "local": {"path": path}, "nodeAffinity": on_the_node,
        },
    }))?;
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "volumeName": name, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": storage},
        },
    }))?;
    let create = PostParams::default();
    Api::all(it.client.clone()).create(&create, &volume).await?;
    Api::namespaced(it.client.clone(), SYSTEM_NAMESPACE)
        .create(&create, &claim)
        .await?;
    Ok(())
}

#[test]
fn a_disk_that_is_full_before_the_weights_are_there() -> Result<()> {
    Pods::shared(async |it| {
        // Less than the demo's models have.
        disk(it, "/mnt", "1m").await?;
        claim(it, "small", "/mnt").await?;
        let claim = json!({"cacheVolume": {"persistentVolumeClaim": {"claimName": "small"}}});
        it.apply("tight", &small(&claim)).await?;
        degraded(it, "tight", "ModelFailed", &["No space left on device"]).await?;
        let larger = ["mount", "-o", "remount,size=200m", "/mnt"];
        it.cluster.nodes[0].run(&larger).await?;
        well(it, "tight").await
    })
}

#[test]
fn a_claim_that_is_not_there_and_a_volume_that_cannot_be_mounted() -> Result<()> {
    Pods::shared(async |it| {
        let volume = json!({"cacheVolume": {"persistentVolumeClaim": {"claimName": "lost"}}});
        it.apply("unmounted", &small(&volume)).await?;
        degraded(it, "unmounted", "Unschedulable", &["\"lost\" not found"]).await?;
        disk(it, "/media", "200m").await?;
        claim(it, "lost", "/media/lost").await?;
        let words = ["\"lost\"", "\"/media/lost\" does not exist"];
        degraded(it, "unmounted", "VolumeUnavailable", &words).await?;
        let mend = ["mkdir", "--mode=777", "/media/lost"];
        it.cluster.nodes[0].run(&mend).await?;
        well(it, "unmounted").await
    })
}
