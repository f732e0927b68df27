//! A cluster leaves nothing: not after its stop, not after the kill of who started it, and not
//! where its guardians were killed too and somebody comes after them.
//!
//! These have a program of their own, one after the other: what one has left, the next cluster of
//! the same index would remove.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use fovea_harness::node::holder;
use fovea_harness::{Cluster, ClusterOptions, eventually};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

#[path = "node/support.rs"]
mod support;
use support::{LONG, create, pod, ready, runs};

/// The variable that makes [`the_parent_that_is_killed`] one.
const PARENT: &str = "FOVEA_DEV_TEST_CLUSTER_PARENT";
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Where a cluster is to be seen.
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
    // containerd, a shim, the pod's two, kubelet and kube-proxy with those who entered for them.
    ensure!(processes.len() >= 8, "{processes:?}");
    ensure!(!cgroups.is_empty());
    let parent = |pid: u32| stat(pid, 1).and_then(|pid| pid.parse().ok());
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

/// Field `n` of `/proc/<pid>/stat` after the name; `None` where the process is gone, or only waits
/// to be reaped.
fn stat(pid: u32, n: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields[0] != "Z").then(|| fields[n].to_owned())
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
async fn a_cluster_that_is_stopped_has_left_nothing_when_the_stop_is_over() -> Result<()> {
    if !runs("a_cluster_that_is_stopped_has_left_nothing_when_the_stop_is_over") {
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
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "the_parent_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(PARENT, "yes")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let line = stdout
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once(PARENT)?.1.to_owned()))
        .context("the parent ended before its cluster was up")?;
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
async fn what_is_left_where_the_guardians_are_killed_too_goes_with_the_next_sweep() -> Result<()> {
    if !runs("what_is_left_where_the_guardians_are_killed_too_goes_with_the_next_sweep") {
        return Ok(());
    }
    let _alone = ONE_AT_A_TIME.lock().await;
    let (mut parent, mut trace) = killable()?;
    // The parent last: its guardians would clean up after it.
    for guardian in &trace.guardians {
        let killed = Command::new("kill")
            .args(["-KILL", &guardian.to_string()])
            .status()?;
        ensure!(killed.success());
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
