//! The metrics of `/metrics`, in the `OpenMetrics` text format. Names begin with `fovea_operator_`; no
//! label holds what a job's user chose, so that their number is bounded by that of the pools.

mod gauges;
mod labels;

pub(crate) use gauges::{BatchSnapshot, PoolScaling, PoolSnapshot, Snapshot};
pub(crate) use labels::{Fate, ResultPut};

use fovea_cluster::Watches;
use fovea_crds::Timings;
use fovea_store::{StoreObserver, StoreOutcome};
use fovea_telemetry::upstream::Upstreams;
use gauges::Gauges;
use labels::{ATTEMPTS, BATCH_PICTURES, CALLBACK_TRIES, DELETIONS, RESULT_PUTS, SHARD_ATTEMPTS};
use labels::{AttemptLabels, CauseLabels, KindLabels, OfLabels, OutcomeLabels};
use labels::{FaultLabels, STATUS_WRITES, STORE_FAULTS, SWEEPS};
use labels::{StageLabels, SweptLabels};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of the operator.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    gauges: Gauges,
    attempts: Family<AttemptLabels, Counter>,
    shard_attempts: Family<AttemptLabels, Counter>,
    batch_pictures: Family<OutcomeLabels, Counter>,
    reused_pictures: Family<OfLabels, Counter>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    status_writes: Family<OutcomeLabels, Counter>,
    result_puts: Family<OutcomeLabels, Counter>,
    callback_tries: Family<OutcomeLabels, Counter>,
    set_aside: Family<KindLabels, Counter>,
    leading: Gauge,
    epoch: Gauge,
    lease_acquisitions: Counter,
    lease_losses: Counter,
    deleted: Family<CauseLabels, Counter>,
    sweeps: Family<OutcomeLabels, Counter>,
    swept: Family<SweptLabels, Counter>,
    store_fault: Family<FaultLabels, Gauge>,
    store_failed: Arc<Notify>,
    upstreams: Upstreams,
    watches: Watches,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers all metrics, at zero.
    pub fn new() -> Self {
        // 1 ms to 36 hours: a job may wait a day for a runner.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 28));
        let mut metrics = Self {
            registry: Registry::with_prefix("fovea_operator"),
            gauges: Gauges::default(),
            attempts: Family::default(),
            shard_attempts: Family::default(),
            batch_pictures: Family::default(),
            reused_pictures: Family::default(),
            stages: Family::new_with_constructor(seconds),
            status_writes: Family::default(),
            result_puts: Family::default(),
            callback_tries: Family::default(),
            set_aside: Family::default(),
            leading: Gauge::default(),
            epoch: Gauge::default(),
            lease_acquisitions: Counter::default(),
            lease_losses: Counter::default(),
            deleted: Family::default(),
            sweeps: Family::default(),
            swept: Family::default(),
            store_fault: Family::default(),
            store_failed: Arc::default(),
            upstreams: Upstreams::default(),
            watches: Watches::default(),
        };
        metrics.register();
        metrics.begin_at_zero();
        metrics
    }

    /// Creates the counters that alerts use: Prometheus misses the first increase of a series that it
    /// has never scraped.
    fn begin_at_zero(&self) {
        for (counted, attempts) in [
            (&self.attempts, &ATTEMPTS[..]),
            (&self.shard_attempts, &SHARD_ATTEMPTS),
        ] {
            for &(outcome, reason) in attempts {
                let _ = counted.get_or_create(&AttemptLabels { outcome, reason });
            }
        }
        for put in RESULT_PUTS {
            let outcome = put.word();
            let _ = self.result_puts.get_or_create(&OutcomeLabels { outcome });
        }
        for (counted, outcomes) in [
            (&self.status_writes, &STATUS_WRITES[..]),
            (&self.callback_tries, &CALLBACK_TRIES),
            (&self.batch_pictures, &BATCH_PICTURES),
            (&self.sweeps, &SWEEPS),
        ] {
            for outcome in outcomes {
                let _ = counted.get_or_create(&OutcomeLabels { outcome });
            }
        }
        for of in ["job", "batch"] {
            let _ = self.reused_pictures.get_or_create(&OfLabels { of });
        }
        self.store_state(None);
        for cause in DELETIONS {
            let _ = self.deleted.get_or_create(&CauseLabels { cause });
        }
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        self.gauges.register(registry);
        registry.register(
            "attempts",
            "Attempts that ended, by outcome (succeeded, failed, retried, interrupted, refused at no cost, aborted) and reason",
            self.attempts.clone(),
        );
        registry.register(
            "shard_attempts",
            "Attempts at shards of batches that ended, by outcome and reason, as of attempts",
            self.shard_attempts.clone(),
        );
        registry.register(
            "batch_pictures",
            "Pictures of batches that have a row, by outcome: succeeded or failed",
            self.batch_pictures.clone(),
        );
        registry.register(
            "reused_pictures",
            "Pictures that were not run because spec.reuse found their answer: of a single job or of a batch",
            self.reused_pictures.clone(),
        );
        registry.register_with_unit(
            "job_stage",
            "Duration of the stages of succeeded jobs: queued, fetch and infer of the last attempt, and total from creation to result",
            Unit::Seconds,
            self.stages.clone(),
        );
        registry.register(
            "status_writes",
            "Writes of jobs' statuses, by outcome: stands, moot (the job was gone or had ended), conflict (another write, or a 404), rejected, failed or gave-up",
            self.status_writes.clone(),
        );
        registry.register(
            "result_puts",
            "Puts of large results to the object store, by outcome: stored, failed or refused (it is put again), no-room (the job runs again)",
            self.result_puts.clone(),
        );
        registry.register(
            "callback_tries",
            "Recorded tries of callbacks, by outcome: delivered, failed (it is tried again) or given-up",
            self.callback_tries.clone(),
        );
        registry.register(
            "objects_set_aside",
            "Watch events with an object that this version cannot read, by kind",
            self.set_aside.clone(),
        );
        registry.register(
            "finished_jobs_deleted",
            "Finished jobs deleted, by cause: ttl (their time was over) or limit (early, with a record in the bucket)",
            self.deleted.clone(),
        );
        registry.register(
            "leading",
            "1 while this replica holds the lease",
            self.leading.clone(),
        );
        registry.register(
            "lease_epoch",
            "Number of the lease's transitions when this replica took it",
            self.epoch.clone(),
        );
        registry.register(
            "lease_acquisitions",
            "Number of times that this process took the lease",
            self.lease_acquisitions.clone(),
        );
        registry.register(
            "lease_losses",
            "Number of times that this process lost the lease without releasing it",
            self.lease_losses.clone(),
        );
        registry.register(
            "sweeps",
            "Sweeps of the bucket, by outcome: complete or failed",
            self.sweeps.clone(),
        );
        registry.register(
            "swept_objects",
            "Objects that sweeps listed, by fate",
            self.swept.clone(),
        );
        registry.register(
            "store_fault",
            "1 for what the latest probe has found wrong with the object store: its lists, lost writes, or that it is no S3",
            self.store_fault.clone(),
        );
        self.upstreams.register(registry);
        self.watches.register(registry);
    }

    /// Metrics of requests to the API server and the store.
    pub fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    /// The watches of the API server while this replica leads.
    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    pub(crate) fn snapshot(&self, snapshot: &Snapshot) {
        self.gauges.set(snapshot);
    }

    /// Sets the gauges of every pool with pods; pools that are not in `pools` are removed.
    pub(crate) fn scaling(&self, pools: &[PoolScaling]) {
        self.gauges.set_scaling(pools);
    }

    pub(crate) fn attempt(&self, outcome: &'static str, reason: &'static str) {
        let labels = AttemptLabels { outcome, reason };
        self.attempts.get_or_create(&labels).inc();
    }

    /// An attempt at a shard has ended.
    pub fn shard_attempt(&self, outcome: &'static str, reason: &'static str) {
        let labels = AttemptLabels { outcome, reason };
        self.shard_attempts.get_or_create(&labels).inc();
    }

    /// So many more pictures of batches have a row.
    pub fn batch_pictures(&self, succeeded: u64, failed: u64) {
        for (outcome, pictures) in [("succeeded", succeeded), ("failed", failed)] {
            let labels = OutcomeLabels { outcome };
            self.batch_pictures.get_or_create(&labels).inc_by(pictures);
        }
    }

    /// So many more pictures, `of` single jobs or batches, have an answer that was given before.
    pub fn reused_pictures(&self, of: &'static str, pictures: u64) {
        let labels = OfLabels { of };
        self.reused_pictures.get_or_create(&labels).inc_by(pictures);
    }

    /// A job has its result, `total` after it was created. One with a `reused` answer was neither fetched nor run.
    pub(crate) fn job_succeeded(&self, timings: &Timings, total: Duration, reused: bool) {
        let Timings {
            queue_millis,
            fetch_millis,
            infer_millis,
            batch_size: _,
        } = timings;
        for (stage, time) in [
            ("queued", Duration::from_millis(*queue_millis)),
            ("fetch", Duration::from_millis(*fetch_millis)),
            ("infer", Duration::from_millis(*infer_millis)),
            ("total", total),
        ] {
            if reused && matches!(stage, "fetch" | "infer") {
                continue;
            }
            let labels = StageLabels { stage };
            let seconds = time.as_secs_f64();
            self.stages.get_or_create(&labels).observe(seconds);
        }
    }

    pub(crate) fn status_write(&self, outcome: &'static str) {
        let labels = OutcomeLabels { outcome };
        self.status_writes.get_or_create(&labels).inc();
    }

    pub(crate) fn finished_job_deleted(&self, cause: &'static str) {
        self.deleted.get_or_create(&CauseLabels { cause }).inc();
    }

    pub(crate) fn result_put(&self, put: ResultPut) {
        let outcome = put.word();
        self.result_puts
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    pub(crate) fn callback_try(&self, outcome: &'static str) {
        let labels = OutcomeLabels { outcome };
        self.callback_tries.get_or_create(&labels).inc();
    }

    pub(crate) fn set_aside(&self, kind: &str) {
        let kind = kind.to_owned();
        self.set_aside.get_or_create(&KindLabels { kind }).inc();
    }

    pub(crate) fn lease_taken(&self, epoch: u64) {
        self.leading.set(1);
        self.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        self.lease_acquisitions.inc();
    }

    /// It has handed it over, or `lost` it.
    pub(crate) fn lease_ended(&self, lost: bool) {
        self.leading.set(0);
        if lost {
            self.lease_losses.inc();
        }
    }

    pub(crate) fn swept(&self, complete: bool) {
        let outcome = if complete { "complete" } else { "failed" };
        self.sweeps.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(crate) fn swept_object(&self, fate: Fate, count: u64) {
        let labels = SweptLabels { fate: fate.word() };
        self.swept.get_or_create(&labels).inc_by(count);
    }

    /// What is wrong with the store, by one of the words of [`STORE_FAULTS`].
    pub(crate) fn store_state(&self, found: Option<&'static str>) {
        for fault in STORE_FAULTS {
            let gauge = self.store_fault.get_or_create(&FaultLabels { fault });
            gauge.set((found == Some(fault)).into());
        }
    }

    /// Notified after a request that the store did not answer, or failed.
    pub(crate) fn store_failed(&self) -> Arc<Notify> {
        Arc::clone(&self.store_failed)
    }

    pub(crate) fn text(&self) -> String {
        (self.gauges).set_clock_skew(crate::time::clock().skew_seconds());
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl StoreObserver for Metrics {
    fn observe(&self, StoreOutcome { method, status }: StoreOutcome<'_>, took: Duration) {
        self.upstreams.store_request(method, status, took);
        if status.is_none_or(|status| status >= 500) {
            self.store_failed.notify_one();
        }
    }

    fn clock(&self, ahead_seconds: f64) {
        self.upstreams.store_clock(ahead_seconds);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
