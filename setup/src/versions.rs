//! The versions of all tools. `setup/go/*/go.mod` and `setup/python/libtorch.txt` repeat those of Go tools
//! and wheels; a test compares them.

/// The releases of Kubernetes that Fovea is tested on, the oldest first. `KUBERNETES` of `make test` names one
/// of them; [`crate::go::KUBERNETES`] is built of it.
pub const KUBERNETES_RELEASES: [&str; 3] = ["v1.35.4", "v1.36.3", KUBERNETES];

/// Kubernetes: the control plane's programs, kubectl and a node's. The newest, which is the default.
pub const KUBERNETES: &str = "v1.37.2";

/// CoreDNS, the DNS server of a cluster with nodes.
pub const COREDNS: &str = "v1.14.7";

/// kube-router, used only to enforce network policies on nodes. This version has known vulnerabilities,
/// and there was no newer one. It runs only in test clusters, which cannot be reached from outside the
/// machine.
pub const KUBE_ROUTER: &str = "v2.1.0";

/// etcd, the API server's store.
pub const ETCD: &str = "v3.7.3";

/// MinIO, the object store of the tests and the demo.
pub const MINIO: &str = "v0.0.0-20260212201848-7aac2a2c5b7c";

/// VersityGW, the second object store of `make test`.
pub const VERSITYGW: &str = "v1.8.0";

/// SeaweedFS: its release 4.53. Tags of its major versions are none of Go's.
pub const SEAWEEDFS: &str = "v0.0.0-20261109003541-7506e5f91cd6";
pub const SEAWEEDFS_RELEASE: &str = "4.53";

/// S3Proxy, as Maven names it.
pub const S3PROXY: &str = "4.1.0";

/// Adobe's S3Mock, as Maven names it.
pub const S3MOCK: &str = "5.2.0";

/// moto, whose server is a mock of S3.
pub const MOTO: &str = "5.2.5";

/// Ceph, as Debian 12 packages it.
pub const CEPH: &str = "16.2.15";

/// k6, the load generator of `make bench-api`.
pub const K6: &str = "v1.8.1";

/// kind, for `make cluster` where docker runs.
pub const KIND: &str = "v0.33.0";

/// helm, which renders and installs the chart.
pub const HELM: &str = "v4.3.2";

/// The previous major version of Helm, which must install the chart, too.
pub const HELM_3: &str = "v3.22.0";

/// kstatus, by which Flux and Helm judge objects: the newest that Go 1.26 builds. Its rules are those of v1.4.0,
/// which Flux 2 has, and of v1.2.2, which Helm 4.3.2 has.
pub const KSTATUS: &str = "v1.3.0";

/// kubeconform, which checks the chart's manifests against the API server's schemas.
pub const KUBECONFORM: &str = "v0.8.0";

/// helm-docs, which writes the chart's README.
pub const HELM_DOCS: &str = "v1.14.2";

/// Contour, the ingress controller of a cluster with nodes.
pub const CONTOUR: &str = "v1.33.8";

/// Envoy, Contour's proxy; its wheel is named in `setup/python/envoy.txt`.
pub const ENVOY: &str = "1.40.0";

/// Kueue, whose queues admit the runners of a pool in `make test-kueue`.
pub const KUEUE: &str = "v0.17.0";

/// Prometheus and promtool, which evaluate the chart's queries and rules.
pub const PROMETHEUS: &str = "v0.316.0";

/// cargo-cyclonedx, which lists the crates that a release's programs are built from.
pub const CARGO_CYCLONEDX: &str = "0.5.9";

/// cargo-deny, which checks licences, sources and advisories of all crates that we link.
pub const CARGO_DENY: &str = "0.20.2";

/// The Prometheus Operator, whose definitions validate the chart's monitors.
pub const PROMETHEUS_OPERATOR: &str = "v0.88.0";

/// libtorch: the version that the `tch` crate of this workspace was written for.
pub const LIBTORCH: &str = "2.13.0";

/// The oldest Go (major, minor) that builds every tool.
pub const GO: (u32, u32) = (1, 26);
