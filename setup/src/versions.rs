//! The one place that names versions. Those of the Go tools are repeated in `setup/go/*/go.mod` and
//! those of the wheels in `setup/python/libtorch.txt`; a test holds them together.

/// Kubernetes: the control plane's programs, kubectl and a node's.
pub const KUBERNETES: &str = "v1.34.2";

/// CoreDNS, the names of a cluster with nodes.
pub const COREDNS: &str = "v1.14.7";

/// kube-router, of which a node's firewall after network policies is used and nothing else. Flaws are
/// reported for this version, the newest that could be had: it is for test clusters alone, which
/// nothing outside the machine reaches.
pub const KUBE_ROUTER: &str = "v2.1.0";

/// etcd, the API server's store.
pub const ETCD: &str = "v3.6.6";

/// MinIO, the object store of the tests and the demo.
pub const MINIO: &str = "v0.0.0-20260212201848-7aac2a2c5b7c";

/// k6, the load of `make bench-api`.
pub const K6: &str = "v1.8.1";

/// kind, for `make cluster` where docker runs.
pub const KIND: &str = "v0.31.0";

/// helm, for the chart.
pub const HELM: &str = "v3.22.0";

/// kubeconform, which holds the chart's manifests against the API server's schemas.
pub const KUBECONFORM: &str = "v0.8.0";

/// helm-docs, which writes the chart's README.
pub const HELM_DOCS: &str = "v1.14.2";

/// Contour, the ingress controller of a cluster with nodes.
pub const CONTOUR: &str = "v1.33.8";

/// Envoy, Contour's proxy; its wheel is named in `setup/python/envoy.txt`.
pub const ENVOY: &str = "1.40.0";

/// Prometheus and promtool, which ask the chart's queries.
pub const PROMETHEUS: &str = "v0.316.0";

/// cargo-cyclonedx, which writes down what a release's programs are linked from.
pub const CARGO_CYCLONEDX: &str = "0.5.9";

/// cargo-deny, which checks licences, sources and advisories of what we are linked from.
pub const CARGO_DENY: &str = "0.20.2";

/// The Prometheus Operator, whose definitions the chart's monitors are held against.
pub const PROMETHEUS_OPERATOR: &str = "v0.88.0";

/// libtorch: the version that the `tch` crate of this workspace was written for.
pub const LIBTORCH: &str = "2.13.0";

/// The oldest Go (major, minor) that builds every tool.
pub const GO: (u32, u32) = (1, 26);
