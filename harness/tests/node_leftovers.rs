//! A cluster leaves nothing behind: after its stop, after a kill of its parent, and, with the next sweep,
//! after a kill of its guardians, too.
//!
//! These tests have their own program and run one at a time: the next cluster with the same index would clean
//! up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fovea_harness::node::holder;
use fovea_harness::{Cluster, ClusterOptions, eventually};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

mod processes;
use processes::{PARENT, kill, parent, start_parent, stat};
#[path = "node/support.rs"]
mod support;
use support::{LONG, create, pod, ready, runs};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Traces of a cluster on this machine.
#[derive(Serialize, Deserialize)]
struct Trace {
    link: String,
    cgroups: Vec<PathBuf>,
    scratches: Vec<PathBuf>,
    /// Each with the time of its start, which a later process of that number has not.
    processes: BTreeSet<(u32, String)>,
    guardians: Vec<u32>,
}

/// A cluster with a pod that runs.
async fn busy_cluster() -> Result<(Cluster, Trace)> {
    let mut cluster = Cluster::start(ClusterOptions::default()).await?;
    let pods: Api<Pod> = Api::default_namespaced(cluster.control_plane.client().await?);
    create(&pods, pod("pause", "localhost/pause:1", None)).await?;
    ready(&pods, "pause").await?;
    let trace = trace(&mut cluster).await?;
    Ok((cluster, trace))
}

async fn trace(cluster: &mut Cluster) -> Result<Trace> {
    let index = cluster.gateway().octets()[1] - 200;
    let mounts = cluster.nodes[0]
        .run(&["readlink", "/proc/self/ns/mnt"])
        .await?;
    let cgroups: Vec<_> = fs::read_dir("/sys/fs/cgroup")?
        .filter_map(|entry| Some(entry.ok()?.path().join(format!("fovea-{index}"))))
        .chain([PathBuf::from(format!("/sys/fs/cgroup/fovea-{index}"))])
        .filter(|path| path.is_dir())
        .collect();
    let mut processes = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let namespace = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap_or_default();
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let pods = cgroup.contains(&format!("/fovea-{index}/"));
        if pods || namespace == Path::new(mounts.trim()) {
            processes.extend(stat(pid, 19).map(|started| (pid, started)));
        }
    }
    // containerd, a shim, the pod's two, kubelet, kube-proxy and their helpers in the namespace.
    ensure!(processes.len() >= 8, "{processes:?}");
    ensure!(!cgroups.is_empty());
    let guardians = [
        cluster.names().pid(),
        cluster.control_plane.api_server().pid(),
    ];
    Ok(Trace {
        link: format!("fovea{index}"),
        cgroups,
        scratches: [cluster.guardian(), cluster.control_plane.guardian()]
            .map(|guardian| guardian.scratch().to_path_buf())
            .to_vec(),
        processes,
        guardians: guardians.into_iter().filter_map(parent).collect(),
    })
}

/// No process, link, route, mount, cgroup, and none of the files.
async fn nothing_left(trace: &Trace) -> Result<()> {
    eventually("the end of all that the cluster had", LONG, || async {
        for (pid, started) in &trace.processes {
            ensure!(
                stat(*pid, 19).as_ref() != Some(started),
                "process {pid} runs"
            );
        }
        for file in ["/proc/net/route", "/proc/net/dev"] {
            ensure!(
                !fs::read_to_string(file)?.contains(&trace.link),
                "{} is in {file}",
                trace.link
            );
        }
        for path in trace.cgroups.iter().chain(&trace.scratches) {
            ensure!(!path.exists(), "{} exists", path.display());
        }
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        for scratch in &trace.scratches {
            ensure!(!mounts.contains(&scratch.display().to_string()), "{mounts}");
        }
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_stopped_cluster_leaves_nothing() -> Result<()> {
    if !runs("a_stopped_cluster_leaves_nothing") {
        return Ok(());
    }
    let _alone = ONE_AT_A_TIME.lock().await;
    let (cluster, trace) = busy_cluster().await?;
    cluster.stop().await?;
    nothing_left(&trace).await
}

/// Not a test: this is the process that the next ones kill.
#[tokio::test]
#[ignore = "run by other tests"]
async fn the_parent_that_is_killed() -> Result<()> {
    if std::env::var_os(PARENT).is_some() {
        let (cluster, trace) = busy_cluster().await?;
        println!("{PARENT} {}", json!(trace));
        std::future::pending::<()>().await;
        drop(cluster);
    }
    Ok(())
}

fn killable() -> Result<(std::process::Child, Trace)> {
    let (child, line) = start_parent()?;
    Ok((child, serde_json::from_str(&line)?))
}

#[tokio::test]
async fn a_cluster_whose_parent_is_killed_leaves_nothing() -> Result<()> {
    if !runs("a_cluster_whose_parent_is_killed_leaves_nothing") {
        return Ok(());
    }
    let _alone = ONE_AT_A_TIME.lock().await;
    let (mut parent, trace) = killable()?;
    parent.kill()?;
    parent.wait()?;
    nothing_left(&trace).await
}

#[tokio::test]
async fn the_next_sweep_cleans_up_after_killed_guardians() -> Result<()> {
    if !runs("the_next_sweep_cleans_up_after_killed_guardians") {
        return Ok(());
    }
    let _alone = ONE_AT_A_TIME.lock().await;
    let (mut parent, mut trace) = killable()?;
    // The parent last: its guardians would clean up after it.
    for guardian in &trace.guardians {
        kill(*guardian)?;
    }
    parent.kill()?;
    parent.wait()?;
    // The control plane's files are no part of a node, and only its guardian knew them.
    let control_plane = trace.scratches.pop().context("no scratch")?;
    eventually("a free lock", LONG, || async {
        holder::sweep()?;
        ensure!(!trace.scratches[0].exists(), "the holder still has it");
        Ok(())
    })
    .await?;
    nothing_left(&trace).await?;
    fs::remove_dir_all(control_plane)?;
    Ok(())
}
