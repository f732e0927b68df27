//! Building and fetching what is pinned in [`crate::versions`].

pub mod chart_crds;
pub mod crates;
pub mod debian;
pub mod envoy;
pub mod go;
pub mod ingress_crds;
pub mod libtorch;
pub mod prerequisites;
pub mod progress;

use std::io;
use std::process::{Command, ExitStatus};

use crate::cache::{Cache, CacheError};
use prerequisites::Missing;
use progress::Progress;

/// What to set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The control plane's programs and MinIO, built with Go.
    Tools,
    /// libtorch, taken from wheels with Python's pip.
    Libtorch,
    /// libtorch with its CUDA half, for images of the runner.
    LibtorchCuda,
    /// What a cluster with nodes and its images need more: Kubernetes' node programs, CoreDNS and
    /// kube-router, built with Go, and the distribution's containerd, runc, iptables, ipset, buildah,
    /// debootstrap.
    Node,
    /// What renders, checks and documents the chart: helm, kubeconform, helm-docs, built with Go; and
    /// the definitions of what it makes for others.
    Chart,
    /// The ingress controller of a cluster with nodes: Contour, built with Go, what it reads, and
    /// Envoy's wheel.
    Ingress,
    /// Prometheus, built with Go.
    Prometheus,
    /// What benchmarks load servers with, built with Go.
    Load,
    /// What writes down the contents of a release, built from its crate.
    Release,
    /// What checks licences and sources of our dependencies, built from its crate.
    Deny,
}

/// Why a set-up did not end well.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Programs that the user has to install.
    #[error("{0}")]
    Missing(Missing),
    /// libtorch's wheels are fetched for one kind of machine so far.
    #[error(
        "libtorch is fetched for Linux on x86_64 only; on this machine set LIBTORCH to a libtorch {}",
        crate::versions::LIBTORCH
    )]
    Platform,
    /// A program that was started did not end well.
    #[error("{what} failed ({status}):\n{tail}")]
    Failed {
        /// What was tried.
        what: String,
        /// How the program ended.
        status: ExitStatus,
        /// The last lines that it wrote.
        tail: String,
    },
    /// A program could not be started, or a file not be written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Sets up `parts` where they are not there yet, side by side: Go builds are bound by the
/// processors, libtorch by the network.
pub fn run(cache: &Cache, parts: &[Part], progress: &Progress) -> Result<(), SetupError> {
    prerequisites::check(cache, parts)?;
    std::thread::scope(|scope| {
        let libtorch = parts
            .contains(&Part::Libtorch)
            .then(|| scope.spawn(|| libtorch::ensure(cache, progress)));
        if parts.contains(&Part::LibtorchCuda) {
            libtorch::ensure_cuda(cache, progress)?;
        }
        if parts.contains(&Part::Node) {
            debian::ensure(cache, progress)?;
        }
        if parts.contains(&Part::Chart) {
            chart_crds::ensure(cache, progress)?;
        }
        if parts.contains(&Part::Ingress) {
            envoy::ensure(cache, progress)?;
        }
        for tools in parts.iter().flat_map(|part| go::of(*part)) {
            tools.ensure(cache, progress)?;
        }
        for tool in parts.iter().flat_map(|part| crates::of(*part)) {
            tool.ensure(cache, progress)?;
        }
        if parts.contains(&Part::Ingress) {
            ingress_crds::ensure(cache, progress)?;
        }
        match libtorch.map(std::thread::ScopedJoinHandle::join) {
            Some(Ok(result)) => result.map(drop),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    })
}

/// What a shell needs in order to build and test by hand, as `export` lines. Libraries and
/// programs come first, so that the pinned ones are found before the machine's own.
pub fn environment(cache: &Cache) -> String {
    let libtorch = cache.path(&libtorch::entry());
    let quote =
        |path: &std::path::Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let programs: String = go::ALL
        .iter()
        .chain([&go::HELM])
        .map(|tools| quote(&cache.path(&tools.entry())) + ":")
        .collect();
    format!(
        "export LIBTORCH={}\n\
         export LD_LIBRARY_PATH={}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n\
         export PATH={programs}$PATH\n",
        quote(&libtorch),
        quote(&libtorch.join("lib")),
    )
}

/// Runs a command to its end without input; its last lines are the error's text.
pub(crate) fn run_command(what: &str, command: &mut Command) -> Result<String, SetupError> {
    const TAIL_LINES: usize = 30;
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|source| SetupError::Io {
            what: what.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(SetupError::Failed {
        what: what.to_owned(),
        status: output.status,
        tail: crate::text::tail(&String::from_utf8_lossy(&text), TAIL_LINES),
    })
}
