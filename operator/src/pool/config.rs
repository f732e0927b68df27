//! Flags of the pools whose runners the operator makes itself.

use fovea_store::Endpoint;
use ipnet::IpNet;
use std::num::NonZeroU32;

/// The runner's image of this release.
const IMAGE: &str = concat!("fovea-runner:", env!("CARGO_PKG_VERSION"));
/// The same with CUDA.
const CUDA_IMAGE: &str = concat!("fovea-runner:", env!("CARGO_PKG_VERSION"), "-cuda");

/// Any shorter, and a kubelet of Kubernetes' own settings may be two versions behind. A build for
/// tests, whose kubelets are quicker, may have it shorter.
const LEAST_OVERLAP_SECONDS: i64 = if cfg!(feature = "failpoints") {
    10
} else {
    180
};

/// Flags and environment of pools with pods.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Pools with pods")]
pub struct PoolsConfig {
    /// Image of runners and of import Jobs, where a pool names none.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_IMAGE", default_value = IMAGE)]
    pub runner_image: String,

    /// Image of runners that have a GPU: of pools with `device: cuda`, or with a GPU among their
    /// resources.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_IMAGE_CUDA", default_value = CUDA_IMAGE)]
    pub runner_image_cuda: String,

    /// When those images are pulled: `Always`, `IfNotPresent` or `Never`. Kubernetes' own default where
    /// absent.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_IMAGE_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub runner_image_pull_policy: Option<String>,

    /// Secret of the pools' namespace with which images are pulled; repeatable, or separated by
    /// commas.
    #[arg(
        long = "runner-image-pull-secret",
        env = "FOVEA_OPERATOR_RUNNER_IMAGE_PULL_SECRETS",
        value_delimiter = ','
    )]
    pub runner_image_pull_secrets: Vec<String>,

    /// How long a runner that is told to end may take for the jobs that it has, in seconds.
    #[arg(
        long,
        env = "FOVEA_OPERATOR_RUNNER_DRAIN_SECONDS",
        default_value = "120"
    )]
    pub runner_drain_seconds: NonZeroU32,

    /// How long a runner's certificate and token are good for, in days; new ones are made after two
    /// thirds of it.
    #[arg(
        long,
        env = "FOVEA_OPERATOR_RUNNER_CERTIFICATE_DAYS",
        default_value_t = 90,
        value_parser = clap::value_parser!(u32).range(1..=825)
    )]
    pub runner_certificate_days: u32,

    /// How long the old and the new are both good at each step of that change, in seconds; longer
    /// than a kubelet takes to bring a changed Secret into a pod, which is about two minutes.
    #[arg(
        long,
        env = "FOVEA_OPERATOR_RUNNER_OVERLAP_SECONDS",
        default_value_t = 600,
        value_parser = clap::value_parser!(u32).range(LEAST_OVERLAP_SECONDS..=86_400)
    )]
    pub runner_overlap_seconds: u32,

    /// How long the additional pod of a rollout may find no node, in seconds, before runners are
    /// replaced one by one instead.
    #[arg(
        long,
        env = "FOVEA_OPERATOR_SURGE_TIMEOUT_SECONDS",
        default_value_t = 60
    )]
    pub surge_timeout_seconds: u32,

    /// How long a runner that is to go may keep its jobs before its pod is deleted nevertheless, in
    /// seconds; it then has the drain's time for them.
    #[arg(
        long,
        env = "FOVEA_OPERATOR_SCALE_DOWN_TIMEOUT_SECONDS",
        default_value_t = 600
    )]
    pub scale_down_timeout_seconds: u32,

    /// Addresses of the object store, as CIDRs: with DNS, all that a runner's pod may reach.
    /// Repeatable, or separated by commas. None, and no --store-namespace or --store-label: runners
    /// reach no store where the network enforces network policies.
    #[arg(
        long = "store-cidr",
        env = "FOVEA_OPERATOR_STORE_CIDRS",
        value_delimiter = ','
    )]
    pub store_cidrs: Vec<IpNet>,

    /// Namespace of an object store that runs in the cluster: its pods are reached beside --store-cidr.
    /// With --store-label those of them that have it, else all.
    #[arg(long, env = "FOVEA_OPERATOR_STORE_NAMESPACE")]
    pub store_namespace: Option<String>,

    /// Label of the pods of an object store that runs in the cluster, `key=value`; repeatable, or
    /// separated by commas. In the pools' namespace, where --store-namespace is absent.
    #[arg(long = "store-label", env = "FOVEA_OPERATOR_STORE_LABELS", value_delimiter = ',', value_parser = label)]
    pub store_labels: Vec<(String, String)>,

    /// Ports of the object store; repeatable, or separated by commas. --s3-endpoint's where absent.
    /// Policies look at a pod's own port, not at its Service's.
    #[arg(
        long = "store-port",
        env = "FOVEA_OPERATOR_STORE_PORTS",
        value_delimiter = ','
    )]
    pub store_ports: Vec<u16>,

    /// Addresses of the Hugging Face hub, for import Jobs alone; repeatable, or separated by commas.
    /// Every public address where absent: the hub hands out files from many.
    #[arg(
        long = "hub-cidr",
        env = "FOVEA_OPERATOR_HUB_CIDRS",
        value_delimiter = ','
    )]
    pub hub_cidrs: Vec<IpNet>,

    /// A mirror of the Hugging Face hub; import Jobs have it as `HF_ENDPOINT`.
    #[arg(long, env = "FOVEA_OPERATOR_HUB_ENDPOINT")]
    pub hub_endpoint: Option<Endpoint>,

    /// Namespace of the cluster's DNS.
    #[arg(
        long,
        env = "FOVEA_OPERATOR_DNS_NAMESPACE",
        default_value = "kube-system"
    )]
    pub dns_namespace: String,

    /// Label of the pods of the cluster's DNS, `key=value`; repeatable, or separated by commas.
    #[arg(long = "dns-label", env = "FOVEA_OPERATOR_DNS_LABELS", default_value = "k8s-app=kube-dns", value_delimiter = ',', value_parser = label)]
    pub dns_labels: Vec<(String, String)>,

    /// Addresses of a DNS that is no pod, such as a cache on each node; repeatable, or separated by
    /// commas.
    #[arg(
        long = "dns-cidr",
        env = "FOVEA_OPERATOR_DNS_CIDRS",
        value_delimiter = ','
    )]
    pub dns_cidrs: Vec<IpNet>,

    /// Label of the operator's own pods, `key=value`: they and scrapers alone may speak to runners.
    /// Repeatable, or separated by commas.
    #[arg(long = "operator-label", env = "FOVEA_OPERATOR_LABELS", default_value = "app.kubernetes.io/name=fovea-operator", value_delimiter = ',', value_parser = label)]
    pub operator_labels: Vec<(String, String)>,

    /// Namespace of the pods that scrape runners' /metrics. With --scraper-label those of them that
    /// have it, else all.
    #[arg(long, env = "FOVEA_OPERATOR_SCRAPER_NAMESPACE")]
    pub scraper_namespace: Option<String>,

    /// Label of the pods that scrape runners' /metrics, `key=value`; repeatable, or separated by
    /// commas. In the pools' namespace, where --scraper-namespace is absent.
    #[arg(long = "scraper-label", env = "FOVEA_OPERATOR_SCRAPER_LABELS", value_delimiter = ',', value_parser = label)]
    pub scraper_labels: Vec<(String, String)>,

    /// How long the import of a model may take, all tries together, in seconds.
    #[arg(
        long,
        env = "FOVEA_OPERATOR_IMPORT_DEADLINE_SECONDS",
        default_value_t = 6 * 3600,
        value_parser = clap::value_parser!(u32).range(60..=5 * 24 * 3600)
    )]
    pub import_deadline_seconds: u32,

    /// How long after a failed import the next one is tried, in seconds.
    #[arg(
        long,
        env = "FOVEA_OPERATOR_IMPORT_RETRY_SECONDS",
        default_value_t = 600,
        value_parser = clap::value_parser!(u32).range(30..=86_400)
    )]
    pub import_retry_seconds: u32,
}

impl PoolsConfig {
    /// Whether any address or pod of the object store is named.
    pub(crate) fn names_a_store(&self) -> bool {
        let pods = self.store_namespace.is_some() || !self.store_labels.is_empty();
        pods || !self.store_cidrs.is_empty()
    }
}

/// `key=value`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write key=value".to_owned()),
    }
}
