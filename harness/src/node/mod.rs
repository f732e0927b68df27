//! A Kubernetes cluster with real nodes: kubelet, containerd, runc, CNI, kube-proxy, kube-scheduler
//! and CoreDNS, joined to the control plane that [`crate::cluster`] starts.
//!
//! A node is a set of kernel namespaces (network, mounts, processes, host name) that one process
//! holds. When that process ends, and it ends with its guardian however that ends, the kernel kills
//! what runs in them, containers among it, and takes the mounts, the links and their routes with
//! it. What no namespace holds (the folders of cgroups, the link on the machine's side) is made and
//! removed by the cluster's [`holder`].
//!
//! Nothing leaves the machine: nodes and pods have routes to each other and to the machine's end
//! of the link, and no default route.

mod addresses;
mod cgroup;
pub(crate) mod command;
mod config;
pub mod holder;
mod links;
mod machine;
mod sandbox;
mod whole;

use std::process::Command;

pub use machine::{Node, NodeOptions};
pub use whole::{Cluster, ClusterOptions};

/// Why nodes cannot run on this machine; tests with nodes are skipped then.
pub fn unavailable() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("nodes need Linux".to_owned());
    }
    if !nix::unistd::Uid::effective().is_root() {
        return Some("nodes need root: namespaces, cgroups and links".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |tool: &str| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into()])
            .any(|folder| folder.join(tool).is_file())
    };
    for tool in ["unshare", "nsenter", "mount", "ip"] {
        if !there(tool) {
            return Some(format!(
                "{tool} is missing: install util-linux and iproute2"
            ));
        }
    }
    if !there("apt-get") && !there("containerd") {
        return Some("containerd is missing, and no apt-get to fetch it with".to_owned());
    }
    // Root of a container may be refused what root of a machine may do.
    let mut namespaces = Command::new("unshare");
    namespaces.args(["--net", "--mount", "--pid", "--fork", "true"]);
    let made = namespaces
        .output()
        .is_ok_and(|output| output.status.success());
    (!made).then(|| "the kernel refuses new namespaces to this process".to_owned())
}
