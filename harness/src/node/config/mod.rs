//! Configuration of a node's programs, one file each.

pub(super) mod cni;
pub(super) mod containerd;
pub(super) mod coredns;
pub(super) mod kube_proxy;
pub(super) mod kubelet;
