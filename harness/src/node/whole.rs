//! A whole cluster: control plane, scheduler, names and nodes.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use super::addresses::{Block, NODES};
use super::config::coredns;
use super::machine::{Node, NodeOptions};
use super::sandbox::Sandbox;
use super::{holder, links, unavailable};
use crate::cluster::{ClusterError, ControlPlane, ControlPlaneOptions};
use crate::guard::Guardian;
use crate::images;
use crate::process::{Process, Program};
use fovea_setup::cache::Cache;
use fovea_setup::debian;
use fovea_setup::go::{COREDNS, KUBERNETES_NODE};

/// Time for the holder to clean up after earlier clusters and to take an index.
const HELD: Duration = Duration::from_mins(1);
/// Time for the holder to remove what the cluster leaves behind.
const CLEANED: Duration = Duration::from_secs(40);

#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The options of each node; at most 15 nodes.
    pub nodes: Vec<NodeOptions>,
    /// Options of the control plane; its `network` is overwritten.
    pub control_plane: ControlPlaneOptions,
    /// Whether kube-router on each node enforces `NetworkPolicies`; without it they have no effect.
    pub network_policies: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            nodes: vec![NodeOptions::default()],
            control_plane: ControlPlaneOptions::default(),
            network_policies: false,
        }
    }
}

/// A running cluster. It ends when this is dropped; [`Cluster::stop`] also waits for it.
#[derive(Debug)]
pub struct Cluster {
    pub control_plane: ControlPlane,
    /// The nodes in order: `node1` is the first.
    pub nodes: Vec<Node>,
    guardian: Guardian,
    block: Block,
    scheduler: Process,
    names: Process,
}

impl Cluster {
    /// Starts a cluster and waits until its nodes are Ready.
    ///
    /// Fails if the machine cannot run nodes (see [`unavailable`]), if programs are missing that
    /// `fovea-setup --only node` builds and downloads, or if a program does not start.
    pub async fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        if let Some(reason) = unavailable() {
            return Err(ClusterError::Unavailable(reason));
        }
        let ClusterOptions {
            nodes,
            mut control_plane,
            network_policies,
        } = options;
        let count = u8::try_from(nodes.len()).unwrap_or(u8::MAX);
        if count > NODES {
            return Err(ClusterError::Unavailable(format!(
                "{NODES} nodes is the limit"
            )));
        }
        let cache = Cache::from_env()?;
        let pause = images::pause(&cache)?;
        let guardian = Guardian::start().await?;
        let block = hold(&guardian, count).await?;
        let variables = debian::environment(&cache);
        let switch = Sandbox::switch(&guardian, &variables).await?;
        links::join_machine(block, &switch).await?;

        control_plane.network = block.network();
        let starting = async {
            let mut started = Vec::new();
            for (number, options) in (1..=count).zip(nodes) {
                let node =
                    Node::prepare(&guardian, block, &switch, (number, count), options).await?;
                node.import_image(&pause).await?;
                started.push(node);
            }
            Ok::<_, ClusterError>(started)
        };
        let (control_plane, mut nodes) =
            tokio::try_join!(ControlPlane::start(control_plane), starting)?;
        let scheduler = start_scheduler(&guardian, &control_plane, &cache).await?;
        let names = start_coredns(&guardian, &control_plane, &cache, block).await?;
        for node in &mut nodes {
            node.join(&guardian, &control_plane).await?;
            if network_policies {
                node.enforce_policies(&guardian, &control_plane).await?;
            }
        }
        Ok(Self {
            control_plane,
            nodes,
            guardian,
            block,
            scheduler,
            names,
        })
    }

    /// The machine's address as pods and nodes reach it.
    pub fn gateway(&self) -> Ipv4Addr {
        self.block.machine()
    }

    /// The addresses of all pods as a CIDR, such as `10.200.16.0/20`.
    pub fn pods(&self) -> String {
        self.block.pods()
    }

    /// Imports an image that docker or buildah has saved into every node.
    pub async fn import_image(&self, archive: &Path) -> Result<(), ClusterError> {
        for node in &self.nodes {
            node.import_image(archive).await?;
        }
        Ok(())
    }

    /// The scheduler's process, for fault tests.
    pub fn scheduler(&mut self) -> &mut Process {
        &mut self.scheduler
    }

    /// CoreDNS's process, for fault tests.
    pub fn names(&mut self) -> &mut Process {
        &mut self.names
    }

    /// The guardian, to start programs that must end before the nodes.
    pub fn guardian(&self) -> &Guardian {
        &self.guardian
    }

    /// Stops the cluster; returns when no process, mount, link, route, cgroup or file of it remains.
    pub async fn stop(self) -> Result<(), ClusterError> {
        let Self {
            control_plane,
            guardian,
            ..
        } = self;
        guardian.stop().await?;
        control_plane.stop().await
    }
}

/// Starts the holder, first of all processes, so that it ends last.
async fn hold(guardian: &Guardian, nodes: u8) -> Result<Block, ClusterError> {
    let program = Program::new("holder", guardian.executable())
        .args(["hold".to_owned(), format!("--nodes={nodes}")])
        .arg(format!("--scratch={}", guardian.scratch().display()))
        .grace(CLEANED);
    let process = Process::start_in(guardian, program).await?;
    let block = process
        .wait_ready("a cluster's index", HELD, || async {
            holder::held(&process.log_tail()).ok_or("none yet")
        })
        .await?;
    Ok(block)
}

async fn start_scheduler(
    guardian: &Guardian,
    cluster: &ControlPlane,
    cache: &Cache,
) -> Result<Process, ClusterError> {
    let name = "kube-scheduler";
    let kubeconfig = cluster.kubeconfig_of(name, "system:kube-scheduler", None)?;
    let program = Program::new(name, KUBERNETES_NODE.built(cache, name)?)
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .args(["--leader-elect=false", "--secure-port=0"])
        .grace(Duration::ZERO);
    Ok(Process::start_in(guardian, program).await?)
}

async fn start_coredns(
    guardian: &Guardian,
    cluster: &ControlPlane,
    cache: &Cache,
    block: Block,
) -> Result<Process, ClusterError> {
    let kubeconfig = cluster.kubeconfig_of("coredns", "coredns", Some("system:masters"))?;
    let path = guardian.scratch().join("Corefile");
    std::fs::write(&path, coredns::file(block.machine(), &kubeconfig))
        .map_err(ClusterError::io("writing the Corefile"))?;
    let program = Program::new("coredns", COREDNS.built(cache, "coredns")?)
        .arg(format!("-conf={}", path.display()))
        .grace(Duration::ZERO);
    Ok(Process::start_in(guardian, program).await?)
}
