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
mod command;
mod config;
pub mod holder;
mod links;
mod machine;
mod sandbox;
mod whole;

pub use machine::{Node, NodeOptions};
pub use whole::{Cluster, ClusterOptions};

/// Why nodes cannot run on this machine, for a test that is then skipped; `None` where they can.
pub fn unavailable() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("nodes need Linux".to_owned());
    }
    if !nix::unistd::Uid::effective().is_root() {
        return Some("nodes need root: namespaces, cgroups and links".to_owned());
    }
    let tools = ["unshare", "nsenter", "mount", "ip"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |tool: &&str| {
        std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
            || std::path::Path::new("/usr/sbin").join(tool).is_file()
    };
    tools
        .iter()
        .find(|tool| !there(tool))
        .map(|tool| format!("{tool} is missing: install util-linux and iproute2"))
}
