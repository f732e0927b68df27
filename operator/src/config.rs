//! Flags and environment, one struct per subsystem.

use crate::callback::CallbackConfig;
use crate::job::quota::QuotaConfig;
use crate::job::retention::RetentionConfig;
use crate::job::suspension::RestoreConfig;
use crate::leader::LeaderConfig;
use crate::pool::{PoolKey, config::PoolsConfig};
use crate::sweep::SweepConfig;
use fovea_store::StoreConfig;
use fovea_telemetry::LogFormat;
use std::net::SocketAddr;

/// Fovea's operator: runs InferenceJobs on runners, creates the runners of RunnerPools, and writes
/// the statuses of both. Several replicas may run; a Lease elects the one that acts.
#[derive(Clone, Debug, clap::Parser)]
#[command(version, name = "fovea-operator")]
pub struct Config {
    /// Namespace of the leader-election Lease, and the only one whose RunnerPools the operator
    /// reconciles.
    #[arg(long, env = "FOVEA_OPERATOR_NAMESPACE", default_value = "fovea-system")]
    pub namespace: String,

    /// Reconcile only the InferenceJobs of this namespace. Default: all namespaces, which needs
    /// cluster-wide rights.
    #[arg(long, env = "FOVEA_OPERATOR_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// RunnerPool for jobs without spec.poolRef, as `name` or `namespace/name`. A bare name is
    /// looked up in --namespace.
    #[arg(long, env = "FOVEA_OPERATOR_DEFAULT_POOL", default_value = "default")]
    pub default_pool: String,

    /// Host, as `host` or `host:port`, that a RunnerPool may list in spec.external.endpoints.
    /// Repeatable or comma-separated. Without any, external pools are refused, so that nobody who
    /// may edit a pool can make the operator send pictures and tokens to another host.
    #[arg(long = "external-host", env = "FOVEA_OPERATOR_EXTERNAL_HOSTS")]
    #[arg(value_delimiter = ',')]
    pub external_hosts: Vec<String>,

    /// Time in seconds for which the object store may refuse a large result, as without a bucket or
    /// a right to write, before its job fails. A result that meets a store without an answer is kept
    /// for the job's spec.queueDeadlineSeconds, and no shorter than this.
    #[arg(
        long,
        env = "FOVEA_OPERATOR_RESULT_REFUSED_SECONDS",
        default_value_t = 600
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub result_refused_seconds: u32,

    /// Address and port to serve /livez, /readyz and /metrics on.
    #[arg(long, env = "FOVEA_OPERATOR_HEALTH_LISTEN")]
    #[arg(default_value = "127.0.0.1:8081")]
    pub health_listen: SocketAddr,

    /// Flags of pools whose runners are pods.
    #[command(flatten)]
    pub pools: PoolsConfig,

    /// Flags of the leader election.
    #[command(flatten)]
    pub leader: LeaderConfig,

    #[command(flatten)]
    pub callback: CallbackConfig,

    #[command(flatten)]
    pub retention: RetentionConfig,

    #[command(flatten)]
    pub quota: QuotaConfig,

    #[command(flatten)]
    pub restore: RestoreConfig,

    /// Flags of the object store.
    #[command(flatten)]
    pub store: StoreConfig,

    #[command(flatten)]
    pub sweep: SweepConfig,

    /// Format of the log on standard error. Its level is set by the environment variable `RUST_LOG`,
    /// such as `debug` (default: `info`).
    #[arg(long, env = "FOVEA_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl Config {
    /// Namespace and name of the default pool.
    pub fn default_pool_key(&self) -> PoolKey {
        let (namespace, name) = self
            .default_pool
            .split_once('/')
            .unwrap_or((&self.namespace, &self.default_pool));
        PoolKey {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        }
    }
}
