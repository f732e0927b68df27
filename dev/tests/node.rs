//! A cluster with real nodes: pods run, are reached, and leave nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use fovea_dev::{Cluster, ClusterOptions, NodeOptions, eventually};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_pod_runs() -> Result<()> {
    if let Some(reason) = fovea_dev::node::unavailable() {
        eprintln!("skipped: {reason}");
        return Ok(());
    }
    let begun = std::time::Instant::now();
    let cluster = Cluster::start(ClusterOptions {
        nodes: vec![NodeOptions { gpus: 2 }],
        ..Default::default()
    })
    .await?;
    eprintln!("up after {:?}", begun.elapsed());
    let pods: Api<Pod> = Api::default_namespaced(cluster.control_plane.client().await?);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "pause"},
        "spec": {"containers": [{"name": "pause", "image": "localhost/pause:1"}]},
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    eventually("the pod to be Ready", LONG, || async {
        let pod = pods.get("pause").await?;
        let conditions = pod
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        ensure!(
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            "{conditions:?}"
        );
        Ok(())
    })
    .await?;
    eprintln!("pod after {:?}", begun.elapsed());
    cluster.stop().await?;
    eprintln!("stopped after {:?}", begun.elapsed());
    Ok(())
}
