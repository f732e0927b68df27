//! Each tool, and the folder of `setup/go` that pins it.

use super::GoTools;
use crate::versions;

/// Defaults of a tool that a folder of `setup/go` pins: its name is the folder's, and it has no programs, stamps and tags.
macro_rules! pinned {
    ($folder:literal) => {
        GoTools {
            name: $folder,
            version: "",
            programs: &[],
            about: "a few seconds",
            stamps: &[],
            tags: &[],
            go_mod: include_str!(concat!("../../go/", $folder, "/go.mod")),
            go_sum: include_str!(concat!("../../go/", $folder, "/go.sum")),
            sources: &[],
        }
    };
}

pub const COREDNS: GoTools = GoTools {
    version: versions::COREDNS,
    programs: &[("coredns", "github.com/coredns/coredns")],
    about: "about 2 minutes on 2 cores",
    ..pinned!("coredns")
};

/// kube-router, which enforces network policies on a node.
pub const KUBE_ROUTER: GoTools = GoTools {
    version: versions::KUBE_ROUTER,
    programs: &[(
        "kube-router",
        "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
    )],
    about: "about 2 minutes on 2 cores",
    ..pinned!("kube-router")
};

pub const ETCD: GoTools = GoTools {
    version: versions::ETCD,
    programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
    about: "about 50 seconds on 2 cores",
    ..pinned!("etcd")
};

pub const MINIO: GoTools = GoTools {
    version: versions::MINIO,
    programs: &[("minio", "github.com/minio/minio")],
    about: "about 2 minutes on 2 cores",
    ..pinned!("minio")
};

/// VersityGW, an S3 gateway over a folder.
pub const VERSITYGW: GoTools = GoTools {
    version: versions::VERSITYGW,
    programs: &[("versitygw", "github.com/versity/versitygw/cmd/versitygw")],
    about: "about a minute on 2 cores",
    ..pinned!("versitygw")
};

pub const SEAWEEDFS: GoTools = GoTools {
    version: versions::SEAWEEDFS,
    programs: &[("weed", "github.com/seaweedfs/seaweedfs/weed")],
    about: "about 5 minutes on 2 cores",
    ..pinned!("seaweedfs")
};

/// k6, which only the benchmarks need and build.
pub const K6: GoTools = GoTools {
    version: versions::K6,
    programs: &[("k6", "go.k6.io/k6")],
    about: "about a minute on 2 cores",
    ..pinned!("k6")
};

/// kind, for machines with docker: only `make cluster` builds it.
pub const KIND: GoTools = GoTools {
    version: versions::KIND,
    programs: &[("kind", "sigs.k8s.io/kind")],
    about: "about half a minute on 2 cores",
    ..pinned!("kind")
};

/// helm, for the chart's tests and for `make cluster`'s users.
pub const HELM: GoTools = GoTools {
    version: versions::HELM,
    programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
    about: "about a minute on 2 cores",
    // The version that charts see, and `helm version`.
    stamps: &[("helm.sh/helm/v4/internal/version.version", versions::HELM)],
    ..pinned!("helm")
};

/// The previous major version of Helm, which some users of the chart still have.
pub const HELM_3: GoTools = GoTools {
    name: "helm",
    version: versions::HELM_3,
    programs: &[("helm", "helm.sh/helm/v3/cmd/helm")],
    about: "about a minute on 2 cores",
    stamps: &[("helm.sh/helm/v3/internal/version.version", versions::HELM_3)],
    ..pinned!("helm3")
};

/// kstatus, a program of our own around the package and the code that waits of Flux and Helm. The number in
/// its name grows with each change of `main.go`.
pub const KSTATUS: GoTools = GoTools {
    name: "kstatus-1",
    version: versions::KSTATUS,
    programs: &[("kstatus", "fovea.dev/dev/kstatus")],
    about: "about 2 minutes on 2 cores",
    sources: &[("main.go", include_str!("../../go/kstatus/main.go"))],
    ..pinned!("kstatus")
};

pub const KUBECONFORM: GoTools = GoTools {
    version: versions::KUBECONFORM,
    programs: &[(
        "kubeconform",
        "github.com/yannh/kubeconform/cmd/kubeconform",
    )],
    ..pinned!("kubeconform")
};

pub const HELM_DOCS: GoTools = GoTools {
    version: versions::HELM_DOCS,
    programs: &[("helm-docs", "github.com/norwoodj/helm-docs/cmd/helm-docs")],
    ..pinned!("helm-docs")
};

/// Contour, the ingress controller of a cluster with nodes; its proxy comes from
/// [`crate::envoy`].
pub const CONTOUR: GoTools = GoTools {
    version: versions::CONTOUR,
    programs: &[("contour", "github.com/projectcontour/contour/cmd/contour")],
    about: "about 2 minutes on 2 cores",
    ..pinned!("contour")
};

/// Kueue's controller and webhooks.
pub const KUEUE: GoTools = GoTools {
    version: versions::KUEUE,
    programs: &[("kueue", "sigs.k8s.io/kueue/cmd/kueue")],
    about: "about 4 minutes on 2 cores",
    ..pinned!("kueue")
};

/// Prometheus, built with service discovery for Kubernetes only.
pub const PROMETHEUS: GoTools = GoTools {
    version: versions::PROMETHEUS,
    programs: &[
        (
            "prometheus",
            "github.com/prometheus/prometheus/cmd/prometheus",
        ),
        ("promtool", "github.com/prometheus/prometheus/cmd/promtool"),
    ],
    about: "about 3 minutes on 2 cores",
    tags: &["remove_all_sd", "enable_kubernetes_sd"],
    ..pinned!("prometheus")
};

/// The Prometheus Operator's module. No program of it is built; only its definitions of monitors and rules
/// are used.
pub(crate) const MONITORING: GoTools = GoTools {
    name: "monitoring-crds",
    version: versions::PROMETHEUS_OPERATOR,
    ..pinned!("monitoring")
};
