//! Each tool, and the folder of `setup/go` that pins it.

use super::GoTools;
use crate::versions;

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

/// The API server and kubectl, for the demo. The other programs have the same go.mod and separate entries.
pub const KUBERNETES: GoTools = GoTools {
    name: "kubernetes",
    version: versions::KUBERNETES,
    programs: &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    about: "about 3 minutes on 2 cores",
    stamps: KUBERNETES_STAMPS,
    tags: &[],
    go_mod: include_str!("../../go/kubernetes/go.mod"),
    go_sum: include_str!("../../go/kubernetes/go.sum"),
};

/// The controller manager, which tests need: garbage collection, Deployments, the end of namespaces.
pub const KUBERNETES_CONTROLLERS: GoTools = GoTools {
    name: "kubernetes-controllers",
    version: versions::KUBERNETES,
    programs: &[(
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    )],
    about: "about a minute on 2 cores, after kube-apiserver",
    stamps: KUBERNETES_STAMPS,
    tags: &[],
    go_mod: include_str!("../../go/kubernetes/go.mod"),
    go_sum: include_str!("../../go/kubernetes/go.sum"),
};

/// The programs that every node of a cluster runs.
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

/// kube-router, which enforces network policies on a node.
pub const KUBE_ROUTER: GoTools = GoTools {
    name: "kube-router",
    version: versions::KUBE_ROUTER,
    programs: &[(
        "kube-router",
        "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
    )],
    about: "about 2 minutes on 2 cores",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/kube-router/go.mod"),
    go_sum: include_str!("../../go/kube-router/go.sum"),
};

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

/// k6, which only the benchmarks need and build.
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

/// kind, for machines with docker: only `make cluster` builds it.
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
    // The version that charts see, and `helm version`.
    stamps: &[("helm.sh/helm/v3/internal/version.version", versions::HELM)],
    tags: &[],
    go_mod: include_str!("../../go/helm/go.mod"),
    go_sum: include_str!("../../go/helm/go.sum"),
};

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
/// [`crate::envoy`].
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

/// Prometheus, built with service discovery for Kubernetes only.
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

/// The Prometheus Operator's module. No program of it is built; only its definitions of monitors and rules
/// are used.
pub(crate) const MONITORING: GoTools = GoTools {
    name: "monitoring-crds",
    version: versions::PROMETHEUS_OPERATOR,
    programs: &[],
    about: "a few seconds",
    stamps: &[],
    tags: &[],
    go_mod: include_str!("../../go/monitoring/go.mod"),
    go_sum: include_str!("../../go/monitoring/go.sum"),
};
