//! Health checks: whether the cluster and the bucket answer, whether the bucket keeps what is written and belongs to
//! no other installation, and whether the watch works and has listed all jobs. A report is reused for as long as a
//! check may last, however often it is requested.

use crate::config::Config;
use crate::installation::BucketCheck;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::store_probe::{Probed, StoreProbe};
use fovea_crds::InferenceJob;
use fovea_store::{Store, StoreFault};
use kube::api::ListParams;
use kube::{Api, Client};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The name of the bucket's check.
const OBJECT_STORE: &str = "object-store";

/// Runs the checks and keeps the latest report.
pub(crate) struct Checks {
    api: Api<InferenceJob>,
    store: Store,
    probe: StoreProbe,
    owner: BucketCheck,
    jobs: Jobs,
    metrics: Arc<Metrics>,
    /// The bucket has answered since the start.
    store_answered: AtomicBool,
    /// Bound on one check, and the lifetime of a report.
    timeout: Duration,
    /// The lock is held while a new report is made, so that only one caller makes it.
    latest: Mutex<Option<(Instant, Arc<Report>)>>,
}

/// The outcome of all checks.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(crate) struct Report {
    /// `ok` if every check passed, else `degraded`.
    status: &'static str,
    /// Version of Fovea, such as `0.1.0`.
    version: &'static str,
    /// The four checks, one for each dependency.
    checks: [Check; 4],
    /// The bucket has answered since the start.
    #[serde(skip)]
    store_answered: bool,
}

/// The outcome of one check.
#[derive(Debug, Serialize, JsonSchema)]
struct Check {
    /// What was checked: `kubernetes`, `object-store`, `installation` or `cache`.
    name: &'static str,
    /// Whether the dependency can be used.
    ok: bool,
    /// Why it failed; shown by `/readyz?verbose` only.
    #[serde(skip)]
    reason: Option<String>,
    /// What to know although it passed; shown by `/readyz?verbose` only.
    #[serde(skip)]
    note: Option<String>,
}

impl Check {
    fn new(name: &'static str, outcome: Result<(), String>) -> Self {
        let reason = outcome.err();
        Self {
            name,
            ok: reason.is_none(),
            reason,
            note: None,
        }
    }

    fn noting(self, note: Option<String>) -> Self {
        let notes = self.note.into_iter().chain(note);
        let note = notes.reduce(|all, note| format!("{all}; {note}"));
        Self { note, ..self }
    }
}

impl Report {
    /// Whether every check passed.
    pub(crate) fn ok(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// Whether this replica should get requests. While the bucket is down it answers reads, and
    /// refuses uploads by itself; but a new one waits for the bucket, so that a rollout with wrong
    /// settings replaces no replica that works.
    pub(crate) fn is_ready(&self) -> bool {
        let spared = |check: &Check| check.name == OBJECT_STORE && self.store_answered;
        self.checks.iter().all(|check| check.ok || spared(check))
    }

    /// One line per check, in the format of Kubernetes' own components.
    pub(crate) fn lines(&self, verbose: bool) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let Check {
                name, reason, note, ..
            } = check;
            let (sign, word) = match (reason, note) {
                (None, Some(note)) if verbose => ('+', format!("ok: {note}")),
                (None, _) => ('+', "ok".to_owned()),
                (Some(reason), _) if verbose => ('-', format!("failed: {reason}")),
                (Some(_), _) => ('-', "failed: ask /readyz?verbose for the reason".to_owned()),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[{sign}]{name} {word}");
        }
        text
    }
}

impl Checks {
    pub(crate) fn new(
        config: &Config,
        client: &Client,
        store: Store,
        jobs: Jobs,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &config.namespace),
            owner: BucketCheck::new(config, client, store.clone()),
            probe: StoreProbe::new(store.clone()),
            store,
            jobs,
            metrics,
            store_answered: AtomicBool::new(false),
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
        let (cluster, (bucket, probed), owner) =
            tokio::join!(self.cluster(), self.bucket(), self.installation());
        let skew = (self.store.clock_skew()).map(|skew| skew.describe("this pod's clock"));
        let cache = self.jobs.complaint().map_or(Ok(()), Err);
        self.store_answered
            .fetch_or(bucket.is_ok(), Ordering::Relaxed);
        let loses_writes = matches!(probed, Probed::Faulty(StoreFault::Writes(_)));
        let mut bucket = Check::new(OBJECT_STORE, bucket);
        if let Probed::Faulty(fault @ StoreFault::Lists(_)) = probed {
            bucket = bucket.noting(Some(format!("warning: {fault}")));
        }
        let report = Arc::new(Report {
            status: if cluster.is_ok() && bucket.ok && owner.is_ok() && cache.is_ok() {
                "ok"
            } else {
                "degraded"
            },
            version: env!("CARGO_PKG_VERSION"),
            checks: [
                Check::new("kubernetes", cluster),
                bucket.noting(skew),
                Check::new("installation", owner),
                Check::new("cache", cache),
            ],
            // One that takes pictures and loses them is not spared.
            store_answered: !loses_writes && self.store_answered.load(Ordering::Relaxed),
        });
        for check in &report.checks {
            self.metrics.checked(check.name, check.ok);
        }
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

    /// Whether the bucket answers and keeps what is written; also what is known of that.
    async fn bucket(&self) -> (Result<(), String>, Probed) {
        let began = Instant::now();
        let answer = timeout(self.timeout, self.store.check()).await;
        if let Err(reason) = settled(OBJECT_STORE, answer) {
            self.probe.was_away();
            return (Err(reason), self.probe.known());
        }
        let probed = self
            .probe
            .state(self.timeout.saturating_sub(began.elapsed()))
            .await;
        match &probed {
            Probed::Faulty(fault @ StoreFault::Writes(_)) => (Err(fault.to_string()), probed),
            _ => (Ok(()), probed),
        }
    }

    /// Whether the bucket is this installation's. Passes while that is unknown: the other checks say why.
    async fn installation(&self) -> Result<(), String> {
        match timeout(self.timeout, self.owner.check()).await {
            Ok(Err(foreign)) => settled("installation", Ok(Err::<(), _>(foreign))),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn report([kubernetes, store, owner, cache]: [bool; 4], store_answered: bool) -> Report {
        let check = |name, ok: bool| Check::new(name, ok.then_some(()).ok_or("no".to_owned()));
        Report {
            status: "",
            version: "",
            checks: [
                check("kubernetes", kubernetes),
                check(OBJECT_STORE, store),
                check("installation", owner),
                check("cache", cache),
            ],
            store_answered,
        }
    }

    #[test]
    fn a_note_is_shown_to_those_who_ask_for_it() {
        let mut report = report([true; 4], true);
        let [_, store, _, _] = &mut report.checks;
        store.note = Some("its clock".to_owned());
        assert!(report.ok() && report.is_ready());
        let verbose = report.lines(true);
        assert!(
            verbose.contains("[+]object-store ok: its clock\n"),
            "{verbose}"
        );
        let short = report.lines(false);
        assert!(short.contains("[+]object-store ok\n"), "{short}");
    }

    #[test]
    fn a_bucket_that_has_answered_once_is_not_needed_to_be_ready_and_the_rest_is() {
        for (checks, store_answered, ready) in [
            ([true, true, true, true], true, true),
            ([true, false, true, true], true, true),
            ([true, false, true, true], false, false),
            ([false, true, true, true], true, false),
            ([true, true, false, true], true, false),
            ([true, true, true, false], true, false),
            ([false, false, true, true], true, false),
        ] {
            let report = report(checks, store_answered);
            assert_eq!(report.is_ready(), ready, "{report:?}");
            assert_eq!(report.ok(), checks == [true; 4], "{report:?}");
        }
    }
}
