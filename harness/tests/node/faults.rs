//! Faults of nodes, in a separate cluster.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use fovea_harness::cluster::ClusterError;
use fovea_harness::{Cluster, ClusterOptions, ControlPlaneOptions, NodeOptions, eventually};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use serde_json::json;

use crate::support::{LONG, create, pod, ready, runs};

#[tokio::test]
async fn containers_outlive_their_kubelet_and_pods_move_from_a_lost_node() -> Result<()> {
    if !runs("containers_outlive_their_kubelet_and_pods_move_from_a_lost_node") {
        return Ok(());
    }
    let mut cluster = Cluster::start(ClusterOptions {
        nodes: vec![NodeOptions { gpus: 1 }; 2],
        control_plane: ControlPlaneOptions {
            controller_manager_flags: vec![
                "--node-monitor-period=1s".to_owned(),
                "--node-monitor-grace-period=15s".to_owned(),
            ],
            ..ControlPlaneOptions::default()
        },
        ..ClusterOptions::default()
    })
    .await?;
    let client = cluster.control_plane.client().await?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let nodes: Api<Node> = Api::all(client);
    let on = |name: &str, node: &str| {
        let mut pod = pod(name, "localhost/pause:1", None);
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"nvidia.com/gpu": 1}});
        pod
    };
    create(&pods, on("stays", "node1")).await?;
    create(&pods, on("goes", "node2")).await?;
    ready(&pods, "stays").await?;
    ready(&pods, "goes").await?;
    let containers = async |cluster: &Cluster| {
        let list = ["ctr", "--namespace=k8s.io", "tasks", "list", "--quiet"];
        let listed = cluster.nodes[0].run(&list).await?;
        Ok::<BTreeSet<_>, ClusterError>(listed.lines().map(str::to_owned).collect())
    };

    let before = containers(&cluster).await?;
    let Cluster {
        nodes: machines,
        control_plane,
        ..
    } = &mut cluster;
    machines[0].kill_kubelet().await?;
    machines[0].restart_kubelet(control_plane).await?;
    ready(&pods, "stays").await?;
    let after = containers(&cluster).await?;
    let same = before.len() == 2 && after == before;
    ensure!(same, "{before:?}, then {after:?}");
    let status = nodes.get("node1").await?.status.context("no status")?;
    let gpus = status.allocatable.unwrap_or_default();
    ensure!(gpus["nvidia.com/gpu"].0 == "1");

    cluster.nodes[1].kill().await?;
    eventually("the lost node to be NotReady", LONG, || async {
        let status = nodes.get("node2").await?.status.context("no status")?;
        let mut conditions = status.conditions.iter().flatten();
        let ready = conditions
            .find(|each| each.type_ == "Ready")
            .context("none")?;
        ensure!(ready.status == "Unknown", "{ready:?}");
        let pod = pods.get("goes").await?.status.context("no status")?;
        let mut conditions = pod.conditions.iter().flatten();
        let ready = conditions
            .find(|each| each.type_ == "Ready")
            .context("none")?;
        ensure!(ready.status == "False", "{ready:?}");
        Ok(())
    })
    .await?;
    Ok(cluster.stop().await?)
}
