//! Flags and environment, one struct per subsystem.

use crate::callback::CallbackConfig;
use crate::job::retention::RetentionConfig;
use crate::leader::LeaderConfig;
use crate::pool::{PoolKey, config::PoolsConfig};
use crate::sweep::SweepConfig;
use fovea_store::StoreConfig;
use fovea_telemetry::LogFormat;
use std::net::SocketAddr;

/// Reconciles InferenceJobs into attempts on runners.
#[derive(Clone, Debug, clap::Parser)]
#[command(version, name = "fovea-operator")]
pub struct Config {
    /// Namespace of the Lease, and of the RunnerPools that count.
    #[arg(long, env = "FOVEA_OPERATOR_NAMESPACE", default_value = "fovea-system")]
    pub namespace: String,

    /// The one namespace whose jobs count; those of every namespace where it is left out.
    #[arg(long, env = "FOVEA_OPERATOR_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// Pool of jobs that name none: `name`, or `namespace/name`.
    #[arg(long, env = "FOVEA_OPERATOR_DEFAULT_POOL", default_value = "default")]
    pub default_pool: String,

    /// Host (`host` or `host:port`) that pools' spec.external.endpoints may name; repeatable,
    /// or separated by commas. None: no external pool works.
    #[arg(
        long = "external-host",
        env = "FOVEA_OPERATOR_EXTERNAL_HOSTS",
        value_delimiter = ','
    )]
    pub external_hosts: Vec<String>,

    /// Address of /livez, /readyz and /metrics.
    #[arg(
        long,
        env = "FOVEA_OPERATOR_HEALTH_LISTEN",
        default_value = "127.0.0.1:8081"
    )]
    pub health_listen: SocketAddr,

    /// Pools whose runners the operator makes.
    #[command(flatten)]
    pub pools: PoolsConfig,

    /// The election.
    #[command(flatten)]
    pub leader: LeaderConfig,

    /// Webhooks at jobs' ends.
    #[command(flatten)]
    pub callback: CallbackConfig,

    /// What is kept of finished jobs.
    #[command(flatten)]
    pub retention: RetentionConfig,

    /// The bucket.
    #[command(flatten)]
    pub store: StoreConfig,

    /// What is deleted from it.
    #[command(flatten)]
    pub sweep: SweepConfig,

    /// How log lines look; `RUST_LOG` says which there are.
    #[arg(long, env = "FOVEA_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl Config {
    /// The default pool with its namespace.
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
