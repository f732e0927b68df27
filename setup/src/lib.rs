//! Builds and fetches the tools that are pinned in [`versions`], and keeps them in a cache.

#![allow(
    missing_docs,
    reason = "only the programs and tests of this workspace use the library"
)]

pub mod cache;
pub mod ceph;
pub mod chart_crds;
pub mod crates;
pub mod debian;
pub mod envoy;
pub mod go;
pub mod ingress_crds;
pub mod kueue_chart;
pub mod libtorch;
mod maven;
pub mod moto;
pub mod prerequisites;
pub mod progress;
pub mod stores;
pub mod text;
pub mod versions;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use cache::{Cache, CacheError};
use prerequisites::Missing;
use stores::ObjectStore;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The API server, its store, kubectl and MinIO, built with Go: the demo needs no more.
    Tools,
    /// The controller manager, built with Go, for tests and clusters.
    Controllers,
    /// libtorch, taken from wheels with Python's pip.
    Libtorch,
    /// libtorch with its CUDA half, for images of the runner.
    LibtorchCuda,
    /// Programs for nodes and images: Kubernetes' node programs, CoreDNS and kube-router, built with Go, and
    /// the distribution's containerd, runc, iptables, ipset, buildah, debootstrap.
    Node,
    /// Tools for the chart: helm, kubeconform, helm-docs, kstatus, built with Go, and definitions of other controllers.
    Chart,
    /// The ingress controller of a cluster with nodes: Contour, built with Go, the definitions that it
    /// reads, and Envoy's wheel.
    Ingress,
    Prometheus,
    /// Kueue, built with Go, and its chart.
    Kueue,
    /// An object store that Fovea is tested on.
    Store(ObjectStore),
    /// Load generator of the benchmarks, built with Go.
    Load,
    /// cargo-cyclonedx, which writes bills of materials; built from its crate.
    Release,
    /// cargo-deny, which checks licences and sources of dependencies; built from its crate.
    Deny,
}

/// Parts for `make build` and the tests without nodes.
pub const DEFAULT_PARTS: [Part; 4] = [
    Part::Tools,
    Part::Controllers,
    Part::Store(ObjectStore::VersityGw),
    Part::Libtorch,
];

impl Part {
    /// Every part, with its name and content for people.
    pub const ALL: [(Self, &'static str, &'static str); 18] = [
        (
            Self::Tools,
            "tools",
            "etcd, kube-apiserver, kubectl and MinIO",
        ),
        (Self::Controllers, "controllers", "kube-controller-manager"),
        (Self::Libtorch, "libtorch", "libtorch for the CPU"),
        (
            Self::LibtorchCuda,
            "libtorch-cuda",
            "libtorch with CUDA, for images of the runner",
        ),
        (
            Self::Node,
            "node",
            "kubelet, containerd and whatever else a cluster with nodes needs",
        ),
        (
            Self::Chart,
            "chart",
            "helm, kubeconform, helm-docs and kstatus",
        ),
        (Self::Ingress, "ingress", "Contour and Envoy"),
        (Self::Prometheus, "prometheus", "Prometheus and promtool"),
        (Self::Kueue, "kueue", "Kueue, for `make test-kueue`"),
        (
            Self::Store(ObjectStore::VersityGw),
            "versitygw",
            "the second object store of the tests",
        ),
        (
            Self::Store(ObjectStore::SeaweedFs),
            "seaweedfs",
            "an object store, for `make test-stores`, as the next ones",
        ),
        (
            Self::Store(ObjectStore::CephRgw),
            "ceph-rgw",
            "from Debian's packages",
        ),
        (
            Self::Store(ObjectStore::S3Proxy),
            "s3proxy",
            "with Maven; runs on Java",
        ),
        (
            Self::Store(ObjectStore::S3Mock),
            "s3mock",
            "with Maven; runs on Java",
        ),
        (Self::Store(ObjectStore::Moto), "moto", "from PyPI"),
        (Self::Load, "load", "k6, for benchmarks"),
        (Self::Release, "release", "cargo-cyclonedx, for releases"),
        (Self::Deny, "deny", "cargo-deny"),
    ];
}

#[derive(Debug)]
pub struct NotBuilt {
    pub path: PathBuf,
}

impl NotBuilt {
    fn unless_exists(path: PathBuf) -> Result<PathBuf, Self> {
        if path.exists() {
            Ok(path)
        } else {
            Err(Self { path })
        }
    }
}

impl fmt::Display for NotBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is not there: set it up first, as `make test` does: `fovea-setup --only` tools, controllers, node, ingress, prometheus, kueue, chart or a store",
            self.path.display()
        )
    }
}

impl std::error::Error for NotBuilt {}

#[derive(Debug)]
pub enum SetupError {
    Missing(Missing),
    Release(go::UnknownRelease),
    /// libtorch's wheels are downloaded for one kind of machine only.
    Platform,
    /// A program failed.
    Failed {
        what: String,
        status: ExitStatus,
        tail: String,
    },
    /// A program could not be started, or a file could not be written.
    Io {
        what: String,
        source: io::Error,
    },
    Cache(CacheError),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Release(unknown) => unknown.fmt(f),
            Self::Platform => write!(
                f,
                "libtorch is fetched for Linux on x86_64 only; on this machine set LIBTORCH to a libtorch {}",
                versions::LIBTORCH
            ),
            Self::Failed { what, status, tail } => write!(f, "{what} failed ({status}):\n{tail}"),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Cache(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Cache(error) => error.source(),
            Self::Missing(_) | Self::Release(_) | Self::Platform | Self::Failed { .. } => None,
        }
    }
}

impl SetupError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

impl From<CacheError> for SetupError {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

/// Checks that the machine has the tools to build those of `parts` that are missing.
pub fn check(cache: &Cache, parts: &[Part]) -> Result<(), SetupError> {
    prerequisites::check(cache, parts)
}

/// Sets up missing `parts` in parallel: Go builds need the processors, libtorch the network.
pub fn run(cache: &Cache, parts: &[Part]) -> Result<(), SetupError> {
    check(cache, parts)?;
    std::thread::scope(|scope| {
        let libtorch = parts
            .contains(&Part::Libtorch)
            .then(|| scope.spawn(|| libtorch::ensure(cache)));
        if parts.contains(&Part::LibtorchCuda) {
            libtorch::ensure_cuda(cache)?;
        }
        if parts.contains(&Part::Node) {
            debian::ensure(cache)?;
        }
        if parts.contains(&Part::Chart) {
            chart_crds::ensure(cache)?;
        }
        if parts.contains(&Part::Ingress) {
            envoy::ensure(cache)?;
        }
        for tools in parts.iter().flat_map(|part| go::of(*part)) {
            tools.ensure(cache)?;
        }
        for tool in parts.iter().flat_map(|part| crates::of(*part)) {
            tool.ensure(cache)?;
        }
        if parts.contains(&Part::Ingress) {
            ingress_crds::ensure(cache)?;
        }
        if parts.contains(&Part::Kueue) {
            kueue_chart::ensure(cache)?;
        }
        for part in parts {
            if let Part::Store(store) = part {
                store.fetch(cache)?;
            }
        }
        match libtorch.map(std::thread::ScopedJoinHandle::join) {
            Some(Ok(result)) => result.map(drop),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    })
}

/// `export` lines for a shell that builds and tests by hand. The pinned libraries and programs come before
/// the machine's.
pub fn environment(cache: &Cache) -> String {
    let libtorch = cache.path(&libtorch::entry());
    let quote =
        |path: &std::path::Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let programs: String = go::in_path()
        .iter()
        .map(|tools| quote(&cache.path(&tools.entry())) + ":")
        .collect();
    format!(
        "export LIBTORCH={}\n\
         export LD_LIBRARY_PATH={}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n\
         export GOMP_SPINCOUNT=${{GOMP_SPINCOUNT:-{SPIN_COUNT}}}\n\
         export PATH={programs}$PATH\n",
        quote(&libtorch),
        quote(&libtorch.join("lib")),
    )
}

/// How long libtorch's threads wait for one another before they sleep, as in the runner's image. By default it
/// is milliseconds, which on a machine with other work takes half of the runner's processor time; with less than
/// some hundred every pass takes several times as long.
const SPIN_COUNT: u32 = 2000;

/// Runs a command to its end without input; its last lines are the error's text.
pub fn run_command(what: &str, command: &mut Command) -> Result<String, SetupError> {
    const TAIL_LINES: usize = 30;
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(SetupError::io(what))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(SetupError::Failed {
        what: what.to_owned(),
        status: output.status,
        tail: text::tail(&String::from_utf8_lossy(&text), TAIL_LINES),
    })
}
