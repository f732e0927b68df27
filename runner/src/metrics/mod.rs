//! The metrics of `/metrics`, in the `OpenMetrics` text format. Names begin with `fovea_runner_`.
//! Labels are model names, stages, outcomes and reasons, so the number of series is bounded.

mod memory;

pub use memory::DeviceMemory;

use fovea_protocol::Reason;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// Content type of the answer to `GET /metrics`.
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A stage of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum MeasuredStage {
    /// From the request to the picture's last byte.
    Fetch,
    /// Waiting for memory and a thread, decoding, resizing, normalising.
    Preprocess,
    /// Waiting in the device's queue.
    Queue,
    /// The pass on the device.
    Infer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    model: String,
    stage: MeasuredStage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    model: String,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

/// The values of gauges at the time of a scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub slots: u32,
    pub busy: u32,
    pub shard_slots: u32,
    pub shards_busy: u32,
    /// Every model, and whether it is ready.
    pub models: Vec<(String, bool)>,
    /// Memory for decoding that is not reserved.
    pub free_decode_bytes: u64,
}

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    attempts: Family<OutcomeLabels, Counter>,
    shard_attempts: Family<OutcomeLabels, Counter>,
    shard_pictures: Family<OutcomeLabels, Counter>,
    refusals: Family<ReasonLabels, Counter>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    batches: Family<ModelLabels, Histogram, fn() -> Histogram>,
    waiting: Family<ModelLabels, Gauge>,
    ready: Family<ModelLabels, Gauge>,
    slots: Gauge,
    busy: Gauge,
    shard_slots: Gauge,
    shards_busy: Gauge,
    free_decode_bytes: Gauge,
    memory: DeviceMemory,
}

/// Counts a picture as waiting for the device until it is dropped.
#[derive(Debug)]
pub struct QueueTicket(Gauge);

impl Drop for QueueTicket {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Starts all metrics at zero; `memory` reads the device's.
    pub fn new(memory: DeviceMemory) -> Self {
        // 1 ms to 65 s; 1 to 256 pictures.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        let pictures: fn() -> Histogram = || Histogram::new(exponential_buckets(1.0, 2.0, 9));
        let mut metrics = Self {
            registry: Registry::with_prefix("fovea_runner"),
            attempts: Family::default(),
            shard_attempts: Family::default(),
            shard_pictures: Family::default(),
            refusals: Family::default(),
            stages: Family::new_with_constructor(seconds),
            batches: Family::new_with_constructor(pictures),
            waiting: Family::default(),
            ready: Family::default(),
            slots: Gauge::default(),
            busy: Gauge::default(),
            shard_slots: Gauge::default(),
            shards_busy: Gauge::default(),
            free_decode_bytes: Gauge::default(),
            memory,
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "attempts",
            "Finished attempts by model and outcome (success, or the problem's reason)",
            self.attempts.clone(),
        );
        registry.register(
            "shard_attempts",
            "Finished attempts at shards of batches by model and outcome (success if a part was written)",
            self.shard_attempts.clone(),
        );
        registry.register(
            "shard_pictures",
            "Pictures of batches by model and outcome (success, or failure)",
            self.shard_pictures.clone(),
        );
        registry.register(
            "refusals",
            "Requests refused before any work began, by the problem's reason",
            self.refusals.clone(),
        );
        registry.register_with_unit(
            "stage",
            "Duration of each stage of an attempt",
            Unit::Seconds,
            self.stages.clone(),
        );
        registry.register(
            "batch_pictures",
            "Pictures per forward pass",
            self.batches.clone(),
        );
        registry.register(
            "queue_pictures",
            "Pictures waiting for the device",
            self.waiting.clone(),
        );
        registry.register(
            "model_ready",
            "1 once the model is loaded and warmed up, else 0",
            self.ready.clone(),
        );
        registry.register(
            "slots",
            "Upper bound on concurrent requests",
            self.slots.clone(),
        );
        registry.register("slots_busy", "Slots in use", self.busy.clone());
        registry.register(
            "shard_slots",
            "Upper bound on concurrent shards of batches",
            self.shard_slots.clone(),
        );
        registry.register(
            "shard_slots_busy",
            "Slots for shards in use",
            self.shards_busy.clone(),
        );
        registry.register_with_unit(
            "decode_free",
            "Memory for decoding that is not reserved",
            Unit::Bytes,
            self.free_decode_bytes.clone(),
        );
        self.memory.register(registry);
    }

    /// Counts a finished attempt; `failure` is `None` on success.
    pub fn attempt(&self, model: &str, failure: Option<Reason>) {
        let labels = OutcomeLabels {
            model: model.to_owned(),
            outcome: failure.map_or("success".to_owned(), |reason| format!("{reason:?}")),
        };
        self.attempts.get_or_create(&labels).inc();
    }

    /// Counts a finished attempt at a shard; `failure` is `None` if it wrote a part.
    pub fn shard_attempt(&self, model: &str, failure: Option<Reason>) {
        let labels = OutcomeLabels {
            model: model.to_owned(),
            outcome: failure.map_or("success".to_owned(), |reason| format!("{reason:?}")),
        };
        self.shard_attempts.get_or_create(&labels).inc();
    }

    /// Counts pictures of batches that have their rows.
    pub fn shard_pictures(&self, model: &str, succeeded: u64, failed: u64) {
        for (outcome, count) in [("success", succeeded), ("failure", failed)] {
            let labels = OutcomeLabels {
                model: model.to_owned(),
                outcome: outcome.to_owned(),
            };
            self.shard_pictures.get_or_create(&labels).inc_by(count);
        }
    }

    /// Counts a request that was refused before any work began.
    pub fn refusal(&self, reason: Reason) {
        let reason = format!("{reason:?}");
        self.refusals.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub fn stage(&self, model: &str, stage: MeasuredStage, took: Duration) {
        let model = model.to_owned();
        self.stages
            .get_or_create(&StageLabels { model, stage })
            .observe(took.as_secs_f64());
    }

    /// Records the size of a pass when it begins.
    #[expect(clippy::cast_precision_loss, reason = "at most some hundreds")]
    pub fn batch(&self, model: &str, pictures: usize) {
        let model = model.to_owned();
        self.batches
            .get_or_create(&ModelLabels { model })
            .observe(pictures as f64);
    }

    /// Counts a picture as waiting for the device until the ticket is dropped.
    pub fn queue(&self, model: &str) -> QueueTicket {
        let model = model.to_owned();
        let gauge = self.waiting.get_or_create_owned(&ModelLabels { model });
        gauge.inc();
        QueueTicket(gauge)
    }

    /// Formats all metrics, with the gauges set from `reading`.
    pub fn text(&self, reading: Reading) -> String {
        let Reading {
            slots,
            busy,
            shard_slots,
            shards_busy,
            models,
            free_decode_bytes,
        } = reading;
        self.slots.set(i64::from(slots));
        self.busy.set(i64::from(busy));
        self.shard_slots.set(i64::from(shard_slots));
        self.shards_busy.set(i64::from(shards_busy));
        self.free_decode_bytes
            .set(i64::try_from(free_decode_bytes).unwrap_or(i64::MAX));
        for (model, ready) in models {
            let ready = i64::from(ready);
            self.ready.get_or_create(&ModelLabels { model }).set(ready);
        }
        self.memory.read();
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_that_dashboards_use() {
        let metrics = Metrics::new(DeviceMemory::of_process());
        metrics.attempt("blip", None);
        metrics.attempt("blip", Some(Reason::InvalidPicture));
        metrics.shard_attempt("blip", Some(Reason::FetchFailed));
        metrics.shard_pictures("blip", 7, 2);
        metrics.refusal(Reason::Busy);
        metrics.stage("blip", MeasuredStage::Infer, Duration::from_millis(3));
        metrics.batch("blip", 4);
        let ticket = metrics.queue("blip");
        let reading = Reading {
            slots: 4,
            busy: 1,
            shard_slots: 2,
            shards_busy: 1,
            models: vec![("blip".to_owned(), true)],
            free_decode_bytes: 7,
        };
        let text = metrics.text(reading.clone());
        for line in [
            r#"fovea_runner_attempts_total{model="blip",outcome="success"} 1"#,
            r#"fovea_runner_attempts_total{model="blip",outcome="InvalidPicture"} 1"#,
            r#"fovea_runner_shard_attempts_total{model="blip",outcome="FetchFailed"} 1"#,
            r#"fovea_runner_shard_pictures_total{model="blip",outcome="success"} 7"#,
            r#"fovea_runner_shard_pictures_total{model="blip",outcome="failure"} 2"#,
            "fovea_runner_shard_slots 2",
            "fovea_runner_shard_slots_busy 1",
            r#"fovea_runner_refusals_total{reason="Busy"} 1"#,
            r#"fovea_runner_stage_seconds_count{model="blip",stage="Infer"} 1"#,
            r#"fovea_runner_batch_pictures_bucket{le="4.0",model="blip"} 1"#,
            r#"fovea_runner_queue_pictures{model="blip"} 1"#,
            r#"fovea_runner_model_ready{model="blip"} 1"#,
            "fovea_runner_slots 4",
            "fovea_runner_slots_busy 1",
            "fovea_runner_decode_free_bytes 7",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("fovea_runner_memory_used_bytes 0"), "{text}");
        drop(ticket);
        let text = metrics.text(reading);
        assert!(text.contains(r#"fovea_runner_queue_pictures{model="blip"} 0"#));
    }
}
