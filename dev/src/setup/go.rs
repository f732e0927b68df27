//! Tools built from Go modules. A folder of `dev/go` pins each of them: its go.mod and go.sum are
//! part of this program, so that a build needs neither this checkout nor `go mod tidy`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::progress::Progress;
use super::{Part, SetupError, run_command};
use crate::cache::Cache;
use crate::cluster::ClusterError;
use crate::versions;

/// Programs that one Go module builds at a time.
#[derive(Debug)]
pub struct GoTools {
    /// The name of the cache entry, without the version.
    pub name: &'static str,
    /// The version that go.mod requires.
    pub version: &'static str,
    /// The programs: the file's name and the package that it is built from.
    pub programs: &'static [(&'static str, &'static str)],
    /// How long a build takes on two cores with nothing cached, for the progress line.
    pub about: &'static str,
    /// Stamped into the binary by the linker, after `-s -w`.
    stamps: &'static [(&'static str, &'static str)],
    /// Build tags.
    tags: &'static [&'static str],
    go_mod: &'static str,
    go_sum: &'static str,
}

/// Kubernetes reads its own version from these; the API server refuses to start without.
const KUBERNETES_STAMPS: &[(&str, &str)] = &[
    (
        "k8s.io/component-base/version.gitVersion",
        versions::KUBERNETES,
    ),
    ("k8s.io/component-base/version.gitMajor", "1"),
    ("k8s.io/component-base/version.gitMinor", "34"),
    ("k8s.io/component-base/version.gitTreeState", "clean"),
];

/// The API server, the controller manager and kubectl. A node's programs are pinned by the same
/// go.mod, and an entry of their own: most set-ups need none.
pub const KUBERNETES: GoTools = GoTools {
    name: "kubernetes",
    version: versions::KUBERNETES,
    programs: &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        (
            "kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    about: "about 4 minutes on 2 cores",
    stamps: KUBERNETES_STAMPS,
    tags: &[],
    go_mod: include_str!("../../go/kubernetes/go.mod"),
    go_sum: include_str!("../../go/kubernetes/go.sum"),
};

/// What a cluster with nodes needs more than a control plane.
pub const KUBERNETES_NODE: GoTools = GoTools {
    name: "kubernetes-node",
    version: versions::KUBERNETES,
    programs: &[
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ],
    about: "about 3 minutes on 2 cores",
    stamps: KUBERNETES_STAMPS,
    tags: &[],
    go_mod: include_str!("../../go/kubernetes/go.mod"),
    go_sum: include_str!("../../go/kubernetes/go.sum"),
};

/// CoreDNS.
pub const COREDNS: GoTools = GoTools {
    name: "coredns",
    version: versions::COREDNS,
    programs: &[("coredns", "github.com/coredns/coredns")],
    about: "about 2 minutes on 2 cores",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/coredns/go.mod"),
    go_sum: include_str!("../../go/coredns/go.sum"),
};

/// etcd.
pub const ETCD: GoTools = GoTools {
    name: "etcd",
    version: versions::ETCD,
    programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
    about: "about 50 seconds on 2 cores",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/etcd/go.mod"),
    go_sum: include_str!("../../go/etcd/go.sum"),
};

/// MinIO.
pub const MINIO: GoTools = GoTools {
    name: "minio",
    version: versions::MINIO,
    programs: &[("minio", "github.com/minio/minio")],
    about: "about 2 minutes on 2 cores",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/minio/go.mod"),
    go_sum: include_str!("../../go/minio/go.sum"),
};

/// k6, for benchmarks alone: no other set-up builds it.
pub const K6: GoTools = GoTools {
    name: "k6",
    version: versions::K6,
    programs: &[("k6", "go.k6.io/k6")],
    about: "about a minute on 2 cores",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/k6/go.mod"),
    go_sum: include_str!("../../go/k6/go.sum"),
};

/// kind, for those who have docker: nothing else builds it.
pub const KIND: GoTools = GoTools {
    name: "kind",
    version: versions::KIND,
    programs: &[("kind", "sigs.k8s.io/kind")],
    about: "about half a minute on 2 cores",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/kind/go.mod"),
    go_sum: include_str!("../../go/kind/go.sum"),
};

/// helm, for the chart's tests and for `make cluster`'s users.
pub const HELM: GoTools = GoTools {
    name: "helm",
    version: versions::HELM,
    programs: &[("helm", "helm.sh/helm/v3/cmd/helm")],
    about: "about a minute on 2 cores",
    // It tells this version to charts, and in `helm version`.
    stamps: &[("helm.sh/helm/v3/internal/version.version", versions::HELM)],
    tags: &[],
    go_mod: include_str!("../../go/helm/go.mod"),
    go_sum: include_str!("../../go/helm/go.sum"),
};

/// kubeconform.
pub const KUBECONFORM: GoTools = GoTools {
    name: "kubeconform",
    version: versions::KUBECONFORM,
    programs: &[(
        "kubeconform",
        "github.com/yannh/kubeconform/cmd/kubeconform",
    )],
    about: "a few seconds",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/kubeconform/go.mod"),
    go_sum: include_str!("../../go/kubeconform/go.sum"),
};

/// helm-docs.
pub const HELM_DOCS: GoTools = GoTools {
    name: "helm-docs",
    version: versions::HELM_DOCS,
    programs: &[("helm-docs", "github.com/norwoodj/helm-docs/cmd/helm-docs")],
    about: "a few seconds",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/helm-docs/go.mod"),
    go_sum: include_str!("../../go/helm-docs/go.sum"),
};

/// Contour, the ingress controller of a cluster with nodes; its proxy comes from
/// [`super::envoy`].
pub const CONTOUR: GoTools = GoTools {
    name: "contour",
    version: versions::CONTOUR,
    programs: &[("contour", "github.com/projectcontour/contour/cmd/contour")],
    about: "about 2 minutes on 2 cores",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/contour/go.mod"),
    go_sum: include_str!("../../go/contour/go.sum"),
};

/// Prometheus, which finds what it scrapes in Kubernetes and nowhere else.
pub const PROMETHEUS: GoTools = GoTools {
    name: "prometheus",
    version: versions::PROMETHEUS,
    programs: &[
        (
            "prometheus",
            "github.com/prometheus/prometheus/cmd/prometheus",
        ),
        ("promtool", "github.com/prometheus/prometheus/cmd/promtool"),
    ],
    about: "about 3 minutes on 2 cores",
    stamps: &[],
    tags: &["remove_all_sd", "enable_kubernetes_sd"],
    go_mod: include_str!("../../go/prometheus/go.mod"),
    go_sum: include_str!("../../go/prometheus/go.sum"),
};

/// The Prometheus Operator's module, of which no program is built: it holds the definitions of what
/// the chart's monitors and rules are.
pub(super) const MONITORING: GoTools = GoTools {
    name: "monitoring-crds",
    version: versions::PROMETHEUS_OPERATOR,
    programs: &[],
    about: "a few seconds",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/monitoring/go.mod"),
    go_sum: include_str!("../../go/monitoring/go.sum"),
};

/// What the control plane and the store need, in the order in which they are built.
pub const ALL: &[GoTools] = &[ETCD, KUBERNETES, MINIO];

/// What `part` needs, in the order in which it is built.
pub fn of(part: Part) -> &'static [GoTools] {
    match part {
        Part::Tools => ALL,
        Part::Node => &[KUBERNETES_NODE, COREDNS],
        Part::Chart => &[HELM, KUBECONFORM, HELM_DOCS],
        Part::Ingress => &[CONTOUR],
        Part::Prometheus => &[PROMETHEUS],
        Part::Load => &[K6],
        Part::Libtorch | Part::LibtorchCuda | Part::Release | Part::Deny => &[],
    }
}

impl GoTools {
    /// The name of the cache entry.
    pub fn entry(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Where `program` lies once it is built.
    pub fn program(&self, cache: &Cache, program: &str) -> PathBuf {
        cache.path(&self.entry()).join(program)
    }

    /// Where `program` lies; an error that says how to get it where it does not.
    pub(crate) fn built(&self, cache: &Cache, program: &str) -> Result<PathBuf, ClusterError> {
        let path = self.program(cache, program);
        if path.is_file() {
            Ok(path)
        } else {
            Err(ClusterError::NotBuilt { path })
        }
    }

    /// Builds the programs where they are not there; returns their folder.
    pub fn ensure(&self, cache: &Cache, progress: &Progress) -> Result<PathBuf, SetupError> {
        let names: Vec<_> = self.programs.iter().map(|(name, _)| *name).collect();
        let label = format!("{} {}", names.join(", "), self.version);
        if cache.has(&self.entry()) {
            progress.note(&format!("{label}: there already"));
        }
        cache.get_or_build(&self.entry(), |dir| {
            let step = format!("building {label} from Go modules ({})", self.about);
            progress.step(&step, || self.build(dir))
        })
    }

    fn build(&self, out: &Path) -> Result<(), SetupError> {
        let [go_mod, go_sum] = self.pin(out)?;
        // Several programs are named by their packages, a single one (etcd's is `server`) by us.
        let target = match self.programs {
            [(name, _)] => out.join(name),
            _ => out.join(""),
        };
        run_command(
            &format!("building {}", self.name),
            Command::new("go")
                .args(["build", "-trimpath", "-buildvcs=false", "-mod=readonly"])
                .args(["-ldflags", &self.linker_flags()])
                .args(["-tags", &self.tags.join(",")])
                .arg("-o")
                .arg(target)
                .args(self.programs.iter().map(|(_, package)| *package))
                .env("CGO_ENABLED", "0")
                .env("GOWORK", "off")
                .current_dir(out),
        )?;
        fs::remove_file(go_mod)
            .and_then(|()| fs::remove_file(go_sum))
            .map_err(|source| SetupError::Io {
                what: format!("tidying {}", out.display()),
                source,
            })
    }

    /// Writes what pins every module into `folder`.
    fn pin(&self, folder: &Path) -> Result<[PathBuf; 2], SetupError> {
        let files = [("go.mod", self.go_mod), ("go.sum", self.go_sum)];
        for (name, text) in files {
            fs::write(folder.join(name), text).map_err(|source| SetupError::Io {
                what: format!("writing {name} of {}", self.name),
                source,
            })?;
        }
        Ok(files.map(|(name, _)| folder.join(name)))
    }

    /// Where Go keeps the source of `module`, of the version that these programs are built from.
    pub(super) fn source(&self, module: &str) -> Result<PathBuf, SetupError> {
        let what = format!("looking for the source of {module}");
        let io = |source| SetupError::Io {
            what: what.clone(),
            source,
        };
        let folder = tempfile::tempdir().map_err(io)?;
        self.pin(folder.path())?;
        let mut go = Command::new("go");
        go.args(["mod", "download", "-json", module])
            .env("GOWORK", "off")
            .current_dir(folder.path());
        let told = run_command(&what, &mut go)?;
        let told: serde_json::Value =
            serde_json::from_str(&told).map_err(|error| io(error.into()))?;
        match told["Dir"].as_str() {
            Some(source) => Ok(source.into()),
            None => Err(io(std::io::ErrorKind::NotFound.into())),
        }
    }

    fn linker_flags(&self) -> String {
        let stamps = self
            .stamps
            .iter()
            .map(|(name, value)| format!(" -X {name}={value}"));
        std::iter::once("-s -w".to_owned()).chain(stamps).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> impl Iterator<Item = &'static GoTools> {
        let parts = <Part as clap::ValueEnum>::value_variants().iter();
        parts.flat_map(|part| of(*part)).chain([&KIND])
    }

    #[test]
    fn every_go_mod_requires_the_version_that_is_named_here() {
        for tools in every() {
            let (_, package) = tools.programs[0];
            let required = tools.go_mod.lines().any(|line| {
                let mut words = line.trim_start_matches("require").split_whitespace();
                words
                    .next()
                    .is_some_and(|module| package.starts_with(module))
                    && words.next() == Some(tools.version)
            });
            assert!(
                required,
                "the go.mod of {} does not require {}",
                tools.name, tools.version
            );
        }
    }

    #[test]
    fn every_go_mod_builds_with_the_go_that_is_asked_for() {
        for tools in every() {
            let go = tools
                .go_mod
                .lines()
                .find_map(|line| line.strip_prefix("go "))
                .unwrap();
            let mut parts = go.split('.').map(|part| part.parse::<u32>().unwrap());
            let needs = (parts.next().unwrap(), parts.next().unwrap());
            assert!(
                needs <= versions::GO,
                "the go.mod of {} needs Go {go}",
                tools.name
            );
        }
    }
}
