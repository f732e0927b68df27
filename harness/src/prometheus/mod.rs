//! A real Prometheus, which scrapes the targets of a cluster's `ServiceMonitors` and `PodMonitors` and
//! evaluates its `PrometheusRules`.
//!
//! The Prometheus operator does not run here. [`scrape`] translates the monitors as its generator does.
//! [`install_definitions`] installs the operator's own definitions, so that the API server rejects the same
//! resources as in a user's cluster.

mod answers;
mod monitors;
mod promtool;
mod scrape;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::ClusterError;
use crate::guard::Guardian;
use crate::ports;
use crate::process::{Process, Program};
use fovea_setup::cache::Cache;
use fovea_setup::go::PROMETHEUS;

pub use answers::{Alert, Rule, Sample, Target};
pub use monitors::{install_definitions, rules, scrape_configs};
pub use promtool::{check_rules, test_rules};

/// Takes one second on an idle machine.
const READY: Duration = Duration::from_mins(1);

#[derive(Clone, Debug, Default)]
pub struct PrometheusOptions {
    /// `scrape_configs` of the configuration file, as [`scrape_configs`] makes them.
    pub scrape_configs: Vec<Value>,
    /// The `spec` of each `PrometheusRule`, with `groups` as in a rule file.
    pub rules: Vec<Value>,
    /// Default interval of scrapes and evaluations; `None` means one second.
    pub interval: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("Prometheus: {0}")]
    Http(#[from] reqwest::Error),
    #[error("Prometheus refuses {question}: {why}")]
    Refused { question: String, why: String },
    /// A monitor has a field that is not translated here, or lacks one.
    #[error("{kind} {name}: {why}; harness/src/prometheus/scrape.rs says what is translated")]
    Monitor {
        kind: &'static str,
        name: String,
        why: String,
    },
}

/// A running Prometheus. It ends when this is dropped; [`Prometheus::stop`] also waits for it.
#[derive(Debug)]
pub struct Prometheus {
    guardian: Guardian,
    process: Process,
    http: reqwest::Client,
    url: String,
}

impl Prometheus {
    /// Starts Prometheus on loopback and waits until it is ready. Fails if `fovea-setup --only prometheus`
    /// has not built it, or if it rejects its options.
    pub async fn start(options: &PrometheusOptions) -> Result<Self, PrometheusError> {
        crate::tls::use_ring();
        let program = built("prometheus")?;
        let started = ports::retrying(ports::free, async |[port]| {
            let guardian = Guardian::start().await?;
            let config = write(&guardian, options)?;
            let program = Program::new("prometheus", program.clone())
                .arg(format!("--config.file={}", config.display()))
                .arg(format!(
                    "--storage.tsdb.path={}",
                    guardian.scratch().join("data").display()
                ))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--web.enable-lifecycle")
                .grace(Duration::ZERO);
            let process = Process::start_in(&guardian, program).await?;
            let url = format!("http://127.0.0.1:{port}");
            let ready = format!("{url}/-/ready");
            process.wait_ready_http(&ready, READY).await?;
            Ok((guardian, process, url))
        });
        let (guardian, process, url) = started.await?;
        Ok(Self {
            guardian,
            process,
            http: crate::tls::local_client(),
            url,
        })
    }

    /// Base URL of Prometheus, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Loads other options; Prometheus keeps its data.
    pub async fn reload(&self, options: &PrometheusOptions) -> Result<(), PrometheusError> {
        write(&self.guardian, options)?;
        let url = format!("{}/-/reload", self.url);
        let answer = self.http.post(&url).send().await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(PrometheusError::Refused {
            question: "its new file".to_owned(),
            why: answer.text().await?,
        })
    }

    /// Prometheus' process, for fault tests.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops Prometheus; returns when its process and files are removed.
    pub async fn stop(self) -> Result<(), PrometheusError> {
        Ok(self.guardian.stop().await.map_err(ClusterError::from)?)
    }
}

fn built(program: &str) -> Result<PathBuf, ClusterError> {
    Ok(PROMETHEUS.built(&Cache::from_env()?, program)?)
}

/// Writes the configuration file and a file for each set of rules, as JSON, which is valid YAML.
fn write(guardian: &Guardian, options: &PrometheusOptions) -> Result<PathBuf, ClusterError> {
    let PrometheusOptions {
        scrape_configs,
        rules,
        interval,
    } = options;
    let put = |name: &str, content: &Value| {
        let path = guardian.scratch().join(name);
        std::fs::write(&path, content.to_string())
            .map_err(ClusterError::io(format!("writing {name}")))?;
        Ok::<_, ClusterError>(path)
    };
    let mut files = Vec::new();
    for (number, spec) in rules.iter().enumerate() {
        files.push(put(&format!("rules-{number}.json"), spec)?);
    }
    let interval = scrape::duration(interval.unwrap_or(Duration::from_secs(1)));
    let config = json!({
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": files,
        "scrape_configs": scrape_configs,
    });
    put("prometheus.json", &config)
}
