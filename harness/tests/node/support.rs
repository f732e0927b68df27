//! Pods, and whether there can be any.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fovea_harness::eventually;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

pub(crate) const LONG: Duration = Duration::from_mins(2);

/// Says that a test is skipped, and why, where nodes cannot run; else whether it is to run.
pub(crate) fn runs(test: &str) -> bool {
    let reason = fovea_harness::node::unavailable();
    if let Some(reason) = &reason {
        eprintln!("{test}: skipped: {reason}");
    }
    reason.is_none()
}

/// A pod that runs a shell's command, or what its image runs.
pub(crate) fn pod(name: &str, image: &str, command: Option<&str>) -> Value {
    let mut container = json!({"name": "main", "image": image});
    if let Some(command) = command {
        container["command"] = json!(["sh", "-euc", command]);
    }
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    })
}

pub(crate) async fn create(pods: &Api<Pod>, pod: Value) -> Result<()> {
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?)
        .await?;
    Ok(())
}

/// Waits until a pod is Ready, and gives its address.
pub(crate) async fn ready(pods: &Api<Pod>, name: &str) -> Result<String> {
    Ok(eventually(&format!("{name} to be Ready"), LONG, || async {
        let status = pods.get(name).await?.status.context("no status")?;
        let mut conditions = status.conditions.iter().flatten();
        let ready = conditions.any(|each| each.type_ == "Ready" && each.status == "True");
        ensure!(ready, "{status:?}");
        status.pod_ip.context("no address")
    })
    .await?)
}
