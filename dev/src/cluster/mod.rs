//! A local Kubernetes control plane for tests and the demo.

mod certificates;
mod control_plane;
mod flags;
mod kubeconfig;
mod kubectl;
mod namespace;

pub(crate) use certificates::Authority;
pub(crate) use control_plane::KubeletFiles;
pub use control_plane::{ControlPlane, ControlPlaneOptions};
pub use kubectl::Output;
pub use namespace::{TempNamespace, with_temp_ns};

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::cache::CacheError;
use crate::guard::GuardError;
use crate::images::ImageError;
use crate::ports::PORT_TAKEN;
use crate::process::ProcessError;
use crate::wait::WaitError;

/// Where an API server listens, and the addresses of its services.
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

/// A control plane or an object store could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A program is not built yet.
    #[error("{} is not there: set it up first, as `make test` does: `fovea-dev setup --only` tools, node, ingress, prometheus or chart", path.display())]
    NotBuilt {
        /// The program.
        path: PathBuf,
    },
    /// The cache of programs.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The guardian of its processes.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// One of its processes.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Somebody else has its port, several times in a row.
    #[error("a port that was free has been taken by somebody else; the log ends:\n{log}")]
    PortTaken {
        /// The last lines of the program's log.
        log: String,
    },
    /// An image that nodes need.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Something did not come true in time.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// Its certificates.
    #[error("the certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    /// A file, a port or a program of its own.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The client's configuration.
    #[error("the kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server's answer.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// Nodes need rights, and parts of the kernel, that this process has not.
    #[error("a cluster with nodes cannot run here: {0}")]
    Unavailable(String),
    /// A program of the distribution's did not do what was asked.
    #[error("{command} failed: {stderr}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// What it wrote to stderr.
        stderr: String,
    },
    /// kubectl answered with an error.
    #[error("kubectl {arguments} failed: {stderr}")]
    Kubectl {
        /// Its arguments.
        arguments: String,
        /// What it wrote to stderr.
        stderr: String,
    },
}

impl ClusterError {
    /// For `map_err` of an [`io::Error`].
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }

    /// Whether somebody else took a port between our choice and the program's start.
    pub(crate) fn is_port_clash(&self) -> bool {
        match self {
            Self::PortTaken { .. } => true,
            Self::Process(ProcessError::Ended { log, .. }) => log.contains(PORT_TAKEN),
            _ => false,
        }
    }
}
