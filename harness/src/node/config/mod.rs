//! What each program of a node reads: one file per program.

pub(super) mod cni;
pub(super) mod containerd;
pub(super) mod coredns;
pub(super) mod kube_proxy;
pub(super) mod kubelet;
