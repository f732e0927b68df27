//! Health checks: whether the cluster and the bucket answer, and whether the watch works and has listed
//! all jobs. A report is reused for as long as a check may last, however often it is requested.

use crate::config::Config;
use crate::jobs::Jobs;
use fovea_crds::InferenceJob;
use fovea_store::Store;
use kube::api::ListParams;
use kube::{Api, Client};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Runs the checks and keeps the latest report.
pub(crate) struct Checks {
    api: Api<InferenceJob>,
    store: Store,
    jobs: Jobs,
    /// Bound on one check, and the lifetime of a report.
    timeout: Duration,
    /// The lock is held while a new report is made, so that only one caller makes it.
    latest: Mutex<Option<(Instant, Arc<Report>)>>,
}

/// The outcome of all checks.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(crate) struct Report {
    /// `ok` or `degraded`.
    status: &'static str,
    /// The version of Fovea.
    version: &'static str,
    /// One entry per dependency.
    checks: [Check; 3],
}

/// The outcome of one check.
#[derive(Debug, Serialize, JsonSchema)]
struct Check {
    /// `kubernetes`, `object-store` or `cache`.
    name: &'static str,
    /// Whether the check passed.
    ok: bool,
    /// Why it failed; shown by `/readyz?verbose` only.
    #[serde(skip)]
    reason: Option<String>,
}

impl Check {
    fn new(name: &'static str, outcome: Result<(), String>) -> Self {
        let reason = outcome.err();
        Self {
            name,
            ok: reason.is_none(),
            reason,
        }
    }
}

impl Report {
    pub(crate) fn ok(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// One line per check, in the format of Kubernetes' own components.
    pub(crate) fn lines(&self, verbose: bool) -> String {
        let mut text = String::new();
        for Check { name, reason, .. } in &self.checks {
            let (sign, word) = match reason {
                None => ('+', "ok".to_owned()),
                Some(reason) if verbose => ('-', format!("failed: {reason}")),
                Some(_) => ('-', "failed: ask /readyz?verbose for the reason".to_owned()),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[{sign}]{name} {word}");
        }
        text
    }
}

impl Checks {
    pub(crate) fn new(config: &Config, client: &Client, store: Store, jobs: Jobs) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &config.namespace),
            store,
            jobs,
            timeout: config.timeouts.check(),
            latest: Mutex::default(),
        }
    }

    /// A report that is at most as old as a check may last.
    pub(crate) async fn report(&self) -> Arc<Report> {
        let mut latest = self.latest.lock().await;
        if let Some((at, report)) = &*latest
            && at.elapsed() < self.timeout
        {
            return Arc::clone(report);
        }
        let (cluster, bucket) = tokio::join!(self.cluster(), self.bucket());
        let cache = self.jobs.complaint().map_or(Ok(()), Err);
        let report = Arc::new(Report {
            status: if cluster.is_ok() && bucket.is_ok() && cache.is_ok() {
                "ok"
            } else {
                "degraded"
            },
            version: env!("CARGO_PKG_VERSION"),
            checks: [
                Check::new("kubernetes", cluster),
                Check::new("object-store", bucket),
                Check::new("cache", cache),
            ],
        });
        *latest = Some((Instant::now(), Arc::clone(&report)));
        report
    }

    /// Whether jobs can be read: that needs the API server, the resource and the rights to it. The
    /// answer may come from the API server's cache.
    async fn cluster(&self) -> Result<(), String> {
        let one = ListParams::default().limit(1).match_any();
        settled(
            "kubernetes",
            timeout(self.timeout, self.api.list_metadata(&one)).await,
        )
        // The API server's message names users, which not everybody may read.
        .map_err(|_| "the reason is in the log".to_owned())
    }

    async fn bucket(&self) -> Result<(), String> {
        settled(
            "object-store",
            timeout(self.timeout, self.store.check()).await,
        )
    }
}

fn settled<T, E: std::fmt::Display>(
    check: &str,
    outcome: Result<Result<T, E>, tokio::time::error::Elapsed>,
) -> Result<(), String> {
    let reason = match outcome {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(check, reason, "health check failed");
    Err(reason)
}
