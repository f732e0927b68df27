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

/// The API server's address, and those of services.
#[derive(Clone, Debug)]
pub struct Network {
    /// The API server's own; on loopback there are no nodes.
    pub address: Ipv4Addr,
    /// The services' addresses, such as `10.96.0.0/16`.
    pub services: String,
    /// The first of them, which is the API server's own service.
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
