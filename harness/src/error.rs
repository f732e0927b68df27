//! Errors of a cluster and its parts.

use std::io;

use fovea_setup::NotBuilt;
use fovea_setup::cache::CacheError;

use crate::guard::GuardError;
use crate::images::ImageError;
use crate::process::ProcessError;
use crate::wait::WaitError;

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Other processes took the program's port several times in a row.
    #[error("a port that was free has been taken by somebody else; the log ends:\n{log}")]
    PortTaken { log: String },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error("the certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// Nodes need rights or kernel features that this process lacks.
    #[error("a cluster with nodes cannot run here: {0}")]
    Unavailable(String),
    #[error("{command} failed: {stderr}")]
    Command { command: String, stderr: String },
    #[error("kubectl {arguments} failed: {stderr}")]
    Kubectl { arguments: String, stderr: String },
}

impl ClusterError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}
