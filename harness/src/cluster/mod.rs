//! A local Kubernetes control plane for tests and the demo.

mod certificates;
mod control_plane;
mod flags;
mod kubeconfig;
mod kubectl;
mod namespace;
mod snapshot;

pub(crate) use certificates::Authority;
pub(crate) use control_plane::KubeletFiles;
pub use control_plane::{ControlPlane, ControlPlaneOptions};
pub use kubectl::Output;
pub use namespace::{TempNamespace, with_temp_ns};
pub use snapshot::Snapshot;

use std::net::Ipv4Addr;

pub use crate::error::ClusterError;

/// Addresses of the API server and of services.
#[derive(Clone, Debug)]
pub struct Network {
    /// Address of the API server; on loopback, nodes cannot reach it.
    pub address: Ipv4Addr,
    /// Addresses of services as a CIDR, such as `10.96.0.0/16`.
    pub services: String,
    /// First address of `services`, which is that of the API server's service.
    pub first_service: Ipv4Addr,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            services: "10.96.0.0/16".to_owned(),
            first_service: Ipv4Addr::new(10, 96, 0, 1),
        }
    }
}
