//! Errors of everything that a cluster is made of.

use std::io;

use fovea_setup::NotBuilt;
use fovea_setup::cache::CacheError;

use crate::guard::GuardError;
use crate::images::ImageError;
use crate::process::ProcessError;
use crate::wait::WaitError;

/// A control plane or an object store could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A program is not built yet.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
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
}
