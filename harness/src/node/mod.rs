//! A Kubernetes cluster with real nodes: kubelet, containerd, runc, CNI, kube-proxy, kube-scheduler
//! and CoreDNS, joined to the control plane that [`crate::cluster`] starts.
//!
//! A node is a set of kernel namespaces (network, mounts, processes, host name) that one process holds.
//! That process ends with its guardian, even if the guardian is killed. The kernel then kills all processes
//! in the namespaces, containers included, and removes the mounts, the links and their routes. The cluster's
//! [`holder`] makes and removes what no namespace holds: the folders of cgroups and the machine's end of
//! the link.
//!
//! Nodes and pods cannot reach anything outside the machine: they have routes to each other and to the
//! machine's end of the link, but no default route.

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
    // Root in a container may lack rights that root on a machine has.
    let mut namespaces = Command::new("unshare");
    namespaces.args(["--net", "--mount", "--pid", "--fork", "true"]);
    let made = namespaces
        .output()
        .is_ok_and(|output| output.status.success());
    (!made).then(|| "the kernel refuses new namespaces to this process".to_owned())
}
