//! One node: its namespaces, and containerd, kubelet and kube-proxy in them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::addresses::Block;
use super::config::{cni, containerd, kube_proxy, kubelet};
use super::links;
use super::sandbox::Sandbox;
use crate::cluster::{ClusterError, ControlPlane};
use crate::guard::Guardian;
use crate::process::Process;
use crate::wait::eventually;
use fovea_setup::cache::Cache;
use fovea_setup::debian;
use fovea_setup::go::{KUBE_ROUTER, KUBERNETES_NODE};

/// Takes one second on an idle machine.
const CONTAINERD_READY: Duration = Duration::from_mins(1);
/// Takes 10 s on an idle machine with two cores.
const NODE_READY: Duration = Duration::from_mins(2);

#[derive(Clone, Copy, Debug, Default)]
pub struct NodeOptions {
    /// Number of `nvidia.com/gpu` that the node advertises. The scheduler counts them; there are no devices.
    pub gpus: u32,
}

#[derive(Debug)]
pub struct Node {
    name: String,
    number: u8,
    block: Block,
    options: NodeOptions,
    folder: PathBuf,
    sandbox: Sandbox,
    kubelet: Option<Process>,
    kube_proxy: Option<Process>,
    kube_router: Option<Process>,
}

impl Node {
    /// Makes a node's namespaces and links and starts containerd. None of these needs an API server.
    pub(super) async fn prepare(
        guardian: &Guardian,
        block: Block,
        switch: &Sandbox,
        (number, nodes): (u8, u8),
        options: NodeOptions,
    ) -> Result<Self, ClusterError> {
        let cache = Cache::from_env()?;
        let name = format!("node{number}");
        let folder = guardian.scratch().join(format!("{name}.d"));
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(ClusterError::io(format!("writing {name}")))?;
            Ok::<_, ClusterError>(path)
        };
        fs::create_dir_all(folder.join("cni")).map_err(ClusterError::io("a node's folder"))?;
        file("cni/10-pods.conflist", cni::list(&block.pods_of(number)))?;
        file("resolv.conf", String::new())?;
        let config = containerd::file(
            &folder.join("cni"),
            &debian::cni_plugins(&cache),
            containerd::snapshotter(&folder),
        );
        let config = file("containerd.toml", config)?;

        let variables = debian::environment(&cache);
        let sandbox = Sandbox::node(guardian, &name, &folder, &variables).await?;
        links::join_node(block, switch, &sandbox, number, nodes).await?;
        let program = sandbox
            .program(&format!("{name}-containerd"), Path::new("containerd"))
            .args(["--config".to_owned(), config.display().to_string()]);
        let process = Process::start_in(guardian, program).await?;
        let what = "containerd's answer";
        process
            .wait_ready(what, CONTAINERD_READY, || sandbox.run(&["ctr", "version"]))
            .await?;
        Ok(Self {
            name,
            number,
            block,
            options,
            folder,
            sandbox,
            kubelet: None,
            kube_proxy: None,
            kube_router: None,
        })
    }

    /// Starts kubelet and kube-proxy, and waits until the node is Ready.
    pub(super) async fn join(
        &mut self,
        guardian: &Guardian,
        cluster: &ControlPlane,
    ) -> Result<(), ClusterError> {
        let cache = Cache::from_env()?;
        let files = cluster.kubelet_files(&self.name, self.address())?;
        let cgroup = format!("/{}/{}", self.block.cgroup(), self.name);
        let resolv_conf = self.folder.join("resolv.conf");
        let text = kubelet::file(&files, self.block.machine(), &cgroup, &resolv_conf);
        let config = self.write("kubelet.json", &text)?;
        let program = KUBERNETES_NODE.built(&cache, "kubelet")?;
        let program = self
            .sandbox
            .program(&format!("{}-kubelet", self.name), &program)
            .args([
                format!("--config={}", config.display()),
                format!("--kubeconfig={}", files.kubeconfig.display()),
                format!("--hostname-override={}", self.name),
                format!("--node-ip={}", self.address()),
            ]);
        self.kubelet = Some(Process::start_in(guardian, program).await?);

        let name = format!("{}-kube-proxy", self.name);
        let kubeconfig = cluster.kubeconfig_of(&name, "system:kube-proxy", None)?;
        let text = kube_proxy::file(&self.name, &self.block.pods(), &kubeconfig);
        let config = self.write("kube-proxy.json", &text)?;
        let program = KUBERNETES_NODE.built(&cache, "kube-proxy")?;
        let program = self
            .sandbox
            .program(&name, &program)
            .arg(format!("--config={}", config.display()));
        let proxy = Process::start_in(guardian, program).await?;
        self.wait_ready(cluster).await?;
        proxy
            .wait_ready("the rules for a service", NODE_READY, || self.has_rules())
            .await?;
        self.kube_proxy = Some(proxy);
        self.advertise_gpus(cluster).await
    }

    /// Starts kube-router, which enforces `NetworkPolicies`, and waits until its firewall rules exist.
    pub(super) async fn enforce_policies(
        &mut self,
        guardian: &Guardian,
        cluster: &ControlPlane,
    ) -> Result<(), ClusterError> {
        let name = format!("{}-kube-router", self.name);
        let kubeconfig = cluster.kubeconfig_of(&name, &name, Some("system:masters"))?;
        let program = KUBE_ROUTER.built(&Cache::from_env()?, "kube-router")?;
        let program = self.sandbox.program(&name, &program).args([
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={}", self.name),
            format!(
                "--service-cluster-ip-range={}",
                self.block.network().services
            ),
            "--run-firewall=true".to_owned(),
            "--run-router=false".to_owned(),
            "--run-service-proxy=false".to_owned(),
            "--enable-cni=false".to_owned(),
        ]);
        let process = Process::start_in(guardian, program).await?;
        let list = ["iptables", "--list-rules", "FORWARD"];
        process
            .wait_ready("the firewall's rules", NODE_READY, || async {
                let rules = self.run(&list).await.map_err(|error| error.to_string())?;
                if rules.contains("KUBE-ROUTER-FORWARD") {
                    Ok(())
                } else {
                    Err(rules)
                }
            })
            .await?;
        self.kube_router = Some(process);
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, ClusterError> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(ClusterError::io(format!("writing {name}")))?;
        Ok(path)
    }

    /// Waits until the node is Ready in the API server.
    pub async fn wait_ready(&self, cluster: &ControlPlane) -> Result<(), ClusterError> {
        let nodes: Api<core::Node> = Api::all(cluster.client().await?);
        let ready = || async {
            let node = nodes
                .get(&self.name)
                .await
                .map_err(|error| error.to_string())?;
            let conditions = node
                .status
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            match conditions
                .iter()
                .find(|condition| condition.type_ == "Ready")
            {
                Some(ready) if ready.status == "True" => Ok(()),
                Some(ready) => Err(ready.message.clone().unwrap_or_default()),
                None => Err("no condition Ready".to_owned()),
            }
        };
        let what = format!("{} to be Ready", self.name);
        match &self.kubelet {
            Some(kubelet) => kubelet.wait_ready(&what, NODE_READY, ready).await?,
            None => eventually(&what, NODE_READY, ready).await?,
        }
        Ok(())
    }

    /// Whether kube-proxy has rules for the API server's service, which every cluster has from its start.
    async fn has_rules(&self) -> Result<(), String> {
        let list = ["iptables", "--table=nat", "--list-rules", "KUBE-SERVICES"];
        let rules = self.run(&list).await.map_err(|error| error.to_string())?;
        if rules.contains("default/kubernetes:https") {
            Ok(())
        } else {
            Err(rules)
        }
    }

    async fn advertise_gpus(&self, cluster: &ControlPlane) -> Result<(), ClusterError> {
        if self.options.gpus == 0 {
            return Ok(());
        }
        let nodes: Api<core::Node> = Api::all(cluster.client().await?);
        let gpus = json!({"nvidia.com/gpu": self.options.gpus.to_string()});
        let patch = json!({"status": {"capacity": gpus, "allocatable": gpus}});
        nodes
            .patch_status(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Address of the node, which pods, the machine and other nodes can reach.
    pub fn address(&self) -> Ipv4Addr {
        self.block.node(self.number)
    }

    /// Kills the kubelet without a warning; its containers keep running.
    pub async fn kill_kubelet(&self) -> Result<(), ClusterError> {
        if let Some(kubelet) = &self.kubelet {
            kubelet.kill().await?;
        }
        Ok(())
    }

    /// Starts the kubelet again, and waits until the node is Ready.
    pub async fn restart_kubelet(&mut self, cluster: &ControlPlane) -> Result<(), ClusterError> {
        if let Some(kubelet) = &mut self.kubelet {
            kubelet.restart().await?;
        }
        self.wait_ready(cluster).await?;
        // A restarted kubelet forgets resources that it did not count itself.
        self.advertise_gpus(cluster).await
    }

    /// Kills the node with everything on it, as when a machine loses power.
    pub async fn kill(&self) -> Result<(), ClusterError> {
        self.sandbox.kill().await
    }

    /// Runs a program in the node's namespaces, waits for it and returns its stdout.
    pub async fn run(&self, words: &[&str]) -> Result<String, ClusterError> {
        self.sandbox.run(words).await
    }

    /// Imports an image that docker or buildah has saved.
    pub async fn import_image(&self, archive: &Path) -> Result<(), ClusterError> {
        // The node's programs have another working directory.
        let archive = &std::path::absolute(archive).map_err(ClusterError::io("an image's path"))?;
        let archive = archive.display().to_string();
        self.run(&["ctr", "--namespace=k8s.io", "images", "import", &archive])
            .await
            .map(drop)
    }
}
