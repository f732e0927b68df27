//! Flags of the pools whose runners the operator makes itself.

use fovea_store::Endpoint;
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

/// Default image of runners: this release's.
const IMAGE: &str = concat!("fovea-runner:", env!("CARGO_PKG_VERSION"));
/// Default image of runners with a GPU.
const CUDA_IMAGE: &str = concat!("fovea-runner:", env!("CARGO_PKG_VERSION"), "-cuda");

/// Lower bound of --runner-overlap-seconds: with Kubernetes' default settings a kubelet may be two
/// versions of a Secret behind. Builds for tests, whose kubelets are faster, allow less.
const LEAST_OVERLAP_SECONDS: i64 = if cfg!(feature = "failpoints") {
    10
} else {
    180
};

/// Flags and environment of pools with pods.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Pools with pods")]
pub struct PoolsConfig {
    /// Container image of runners and of import Jobs, unless the pool sets spec.template.image.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_IMAGE", default_value = IMAGE)]
    pub runner_image: String,

    /// Container image of runners with a GPU: for pools with `device: cuda` or a GPU in their
    /// resources, unless the pool sets spec.template.image.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_IMAGE_CUDA", default_value = CUDA_IMAGE)]
    pub runner_image_cuda: String,

    /// Image pull policy of runners and import Jobs. Default: Kubernetes' own, which depends on the
    /// image's tag.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_IMAGE_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub runner_image_pull_policy: Option<String>,

    /// Name of an image pull Secret in the pool's namespace, for runners and import Jobs.
    /// Repeatable or comma-separated.
    #[arg(long = "runner-image-pull-secret")]
    #[arg(env = "FOVEA_OPERATOR_RUNNER_IMAGE_PULL_SECRETS")]
    #[arg(value_delimiter = ',')]
    pub runner_image_pull_secrets: Vec<String>,

    /// Time in seconds that a terminating runner has to finish its running jobs. Jobs that take
    /// longer are retried on another runner.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_DRAIN_SECONDS")]
    #[arg(default_value = "120")]
    pub runner_drain_seconds: NonZeroU32,

    /// Size limit of the emptyDir for models, of runners whose pool sets no cacheVolume and of import Jobs. Beyond it the
    /// kubelet evicts the pod. It has to hold all models of a pool.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_CACHE_SIZE_LIMIT")]
    #[arg(default_value = "64Gi", value_parser = quantity)]
    pub runner_cache_size_limit: Quantity,

    /// Largest picture that runners accept, in pixels (width times height), unless the pool sets
    /// `FOVEA_RUNNER_MAX_PICTURE_PIXELS` in spec.template.env. A larger one fails its job. Pillow
    /// warns of decompression bombs above the default.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_MAX_PICTURE_PIXELS")]
    #[arg(default_value = "89478485")]
    pub runner_max_picture_pixels: NonZeroU64,

    /// Lifetime of a runner's certificate and bearer token, in days. The operator replaces both
    /// after two thirds of it.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_CERTIFICATE_DAYS")]
    #[arg(default_value_t = 90)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=825))]
    pub runner_certificate_days: u32,

    /// Time in seconds for which the old and the new certificate and token are both accepted, at
    /// each step of a replacement. Must exceed the time until a kubelet updates a changed Secret in
    /// running pods, about two minutes.
    #[arg(long, env = "FOVEA_OPERATOR_RUNNER_OVERLAP_SECONDS")]
    #[arg(default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u32).range(LEAST_OVERLAP_SECONDS..=86_400))]
    pub runner_overlap_seconds: u32,

    /// Time in seconds that the extra pod of a rollout may stay unschedulable. After it, runners
    /// are replaced one at a time instead, which needs no spare node or GPU.
    #[arg(long, env = "FOVEA_OPERATOR_SURGE_TIMEOUT_SECONDS")]
    #[arg(default_value_t = 60)]
    pub surge_timeout_seconds: u32,

    /// Time in seconds that a runner chosen for scale-down may keep running jobs before its pod is
    /// deleted. The pod then still has --runner-drain-seconds to finish them.
    #[arg(long, env = "FOVEA_OPERATOR_SCALE_DOWN_TIMEOUT_SECONDS")]
    #[arg(default_value_t = 600)]
    pub scale_down_timeout_seconds: u32,

    /// CIDR of the object store, for the runners' `NetworkPolicy`: apart from DNS, runners can reach
    /// nothing else. Repeatable or comma-separated. Without this flag, --store-namespace and
    /// --store-label, runners reach no store on networks that enforce policies, and jobs fail.
    #[arg(long = "store-cidr", env = "FOVEA_OPERATOR_STORE_CIDRS")]
    #[arg(value_delimiter = ',')]
    pub store_cidrs: Vec<IpNet>,

    /// Namespace of an object store that runs in this cluster; the runners' `NetworkPolicy` allows
    /// its pods, in addition to --store-cidr. With --store-label it allows only pods with those
    /// labels.
    #[arg(long, env = "FOVEA_OPERATOR_STORE_NAMESPACE")]
    pub store_namespace: Option<String>,

    /// Label, as `key=value`, of the pods of an object store that runs in this cluster, for the
    /// runners' `NetworkPolicy`. Repeatable or comma-separated: pods must have all. Without
    /// --store-namespace the pods of the pool's namespace are meant.
    #[arg(long = "store-label", env = "FOVEA_OPERATOR_STORE_LABELS", value_delimiter = ',', value_parser = label)]
    pub store_labels: Vec<(String, String)>,

    /// Port of the object store, for the runners' `NetworkPolicy`. Repeatable or comma-separated.
    /// Default: the port of --s3-endpoint. If a Service maps ports, give the port of its pods,
    /// which is the one that policies match.
    #[arg(long = "store-port", env = "FOVEA_OPERATOR_STORE_PORTS")]
    #[arg(value_delimiter = ',')]
    pub store_ports: Vec<u16>,

    /// CIDR of the proxy that `HTTPS_PROXY` and `HTTP_PROXY` name, for the `NetworkPolicy` of import Jobs, and of runners
    /// where the object store is reached through it. Repeatable or comma-separated.
    #[arg(long = "proxy-cidr", env = "FOVEA_OPERATOR_PROXY_CIDRS")]
    #[arg(value_delimiter = ',')]
    pub proxy_cidrs: Vec<IpNet>,

    /// Namespace of a proxy that runs in this cluster; the policies allow its pods, in addition to --proxy-cidr.
    /// With --proxy-label they allow only pods with those labels.
    #[arg(long, env = "FOVEA_OPERATOR_PROXY_NAMESPACE")]
    pub proxy_namespace: Option<String>,

    /// Label, as `key=value`, of the pods of a proxy that runs in this cluster. Repeatable or comma-separated: pods
    /// must have all. Without --proxy-namespace the pods of the pool's namespace are meant.
    #[arg(long = "proxy-label", env = "FOVEA_OPERATOR_PROXY_LABELS", value_delimiter = ',', value_parser = label)]
    pub proxy_labels: Vec<(String, String)>,

    /// Port of the proxy, for the policies. Repeatable or comma-separated. Default: the ports of `HTTPS_PROXY` and
    /// `HTTP_PROXY`. If a Service maps ports, give the port of its pods.
    #[arg(long = "proxy-port", env = "FOVEA_OPERATOR_PROXY_PORTS")]
    #[arg(value_delimiter = ',')]
    pub proxy_ports: Vec<u16>,

    /// CIDR of the Hugging Face Hub, for the `NetworkPolicy` of import Jobs. Repeatable or
    /// comma-separated. Default: all public addresses, because the Hub serves files from many
    /// hosts.
    #[arg(long = "hub-cidr", env = "FOVEA_OPERATOR_HUB_CIDRS")]
    #[arg(value_delimiter = ',')]
    pub hub_cidrs: Vec<IpNet>,

    /// URL of a mirror of the Hugging Face Hub. Import Jobs get it as `HF_ENDPOINT` and download
    /// from there.
    #[arg(long, env = "FOVEA_OPERATOR_HUB_ENDPOINT")]
    pub hub_endpoint: Option<Endpoint>,

    /// PEM file of certificate authorities to trust for the Hub in addition to the system's, of at
    /// most 384 KiB: for a mirror with a certificate of a private authority. Import Jobs get its
    /// certificates. It is read again when it changes.
    #[arg(long, env = "FOVEA_OPERATOR_HUB_CA_FILE")]
    pub hub_ca_file: Option<PathBuf>,

    /// Namespace of the cluster's DNS pods, for the runners' `NetworkPolicy`.
    #[arg(long, env = "FOVEA_OPERATOR_DNS_NAMESPACE")]
    #[arg(default_value = "kube-system")]
    pub dns_namespace: String,

    /// Label, as `key=value`, of the cluster's DNS pods, for the runners' `NetworkPolicy`. Repeatable
    /// or comma-separated.
    #[arg(long = "dns-label", env = "FOVEA_OPERATOR_DNS_LABELS", default_value = "k8s-app=kube-dns", value_delimiter = ',', value_parser = label)]
    pub dns_labels: Vec<(String, String)>,

    /// CIDR of a DNS server that is not a pod, such as a node-local cache, for the runners'
    /// `NetworkPolicy`. Repeatable or comma-separated.
    #[arg(long = "dns-cidr", env = "FOVEA_OPERATOR_DNS_CIDRS")]
    #[arg(value_delimiter = ',')]
    pub dns_cidrs: Vec<IpNet>,

    /// Label, as `key=value`, of the operator's own pods. The runners' `NetworkPolicy` admits
    /// connections only from pods with these labels and from scrapers. Repeatable or
    /// comma-separated.
    #[arg(long = "operator-label", env = "FOVEA_OPERATOR_LABELS", default_value = "app.kubernetes.io/name=fovea-operator", value_delimiter = ',', value_parser = label)]
    pub operator_labels: Vec<(String, String)>,

    /// Namespace of the pods that scrape the runners' /metrics, such as Prometheus; the runners'
    /// `NetworkPolicy` admits them. With --scraper-label it admits only pods with those labels.
    #[arg(long, env = "FOVEA_OPERATOR_SCRAPER_NAMESPACE")]
    pub scraper_namespace: Option<String>,

    /// Label, as `key=value`, of the pods that scrape the runners' /metrics. Repeatable or
    /// comma-separated. Without --scraper-namespace the pods of the pool's namespace are meant.
    #[arg(long = "scraper-label", env = "FOVEA_OPERATOR_SCRAPER_LABELS", value_delimiter = ',', value_parser = label)]
    pub scraper_labels: Vec<(String, String)>,

    /// Timeout of the import of a model from the Hugging Face Hub, in seconds, over all attempts of
    /// the import Job.
    #[arg(long, env = "FOVEA_OPERATOR_IMPORT_DEADLINE_SECONDS")]
    #[arg(default_value_t = 6 * 3600)]
    #[arg(value_parser = clap::value_parser!(u32).range(60..=5 * 24 * 3600))]
    pub import_deadline_seconds: u32,

    /// Delay before a failed import is started again, in seconds.
    #[arg(long, env = "FOVEA_OPERATOR_IMPORT_RETRY_SECONDS")]
    #[arg(default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u32).range(30..=86_400))]
    pub import_retry_seconds: u32,
}

impl PoolsConfig {
    /// Whether a flag names addresses or pods of the object store.
    pub(crate) fn names_a_store(&self) -> bool {
        let pods = self.store_namespace.is_some() || !self.store_labels.is_empty();
        pods || !self.store_cidrs.is_empty()
    }

    /// Whether a flag names addresses or pods of the proxy.
    pub(crate) fn names_a_proxy(&self) -> bool {
        let pods = self.proxy_namespace.is_some() || !self.proxy_labels.is_empty();
        pods || !self.proxy_cidrs.is_empty()
    }
}

/// Parses a size such as `64Gi`.
fn quantity(text: &str) -> Result<Quantity, String> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let units = ["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"];
    if unit.len() < text.len() && units.contains(&unit) {
        Ok(Quantity(text.to_owned()))
    } else {
        Err("write a number of bytes, such as 64Gi".to_owned())
    }
}

/// Parses `key=value`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        for size in ["64Gi", "1000", "20G"] {
            assert_eq!(quantity(size), Ok(Quantity(size.to_owned())));
        }
        for wrong in ["", "Gi", "64 Gi", "1.5Gi", "-1Gi", "64GiB"] {
            assert!(quantity(wrong).is_err(), "{wrong}");
        }
    }
}
