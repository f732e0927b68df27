//! How long ago each watch has proven that it works, for `/readyz` and `/metrics`.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A watch without proof for longer is stale: objects may have changed unseen. Longer than a watch needs to
/// notice a fault and to begin again.
pub const STALE_AFTER: Duration = Duration::from_secs(30);

/// The watches of a program. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Watches(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    started: u64,
    /// By number: the resource, and the time of the last proof.
    running: BTreeMap<u64, (String, Instant)>,
}

/// One watch, until it is dropped.
#[derive(Debug)]
pub struct Proof {
    watches: Watches,
    number: u64,
}

impl Watches {
    /// Adds a watch of `resource`, such as `pods`. Its age counts from now.
    pub fn start(&self, resource: &str) -> Proof {
        let mut state = self.lock();
        state.started += 1;
        let number = state.started;
        let watch = (resource.to_owned(), Instant::now());
        state.running.insert(number, watch);
        Proof {
            watches: self.clone(),
            number,
        }
    }

    /// Registers the metric `watch_age_seconds`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// Time since the last proof by resource; the longest one of several watches.
    pub fn ages(&self) -> BTreeMap<String, Duration> {
        let mut ages = BTreeMap::new();
        for (resource, proven) in self.lock().running.values() {
            let age = ages.entry(resource.clone()).or_default();
            *age = proven.elapsed().max(*age);
        }
        ages
    }

    /// Why the watches cannot be relied on; `None` if all work.
    pub fn complaint(&self) -> Option<String> {
        complaint(&self.ages())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn complaint(ages: &BTreeMap<String, Duration>) -> Option<String> {
    let stale = ages.iter().filter(|(_, age)| **age > STALE_AFTER);
    let stale: Vec<String> = stale
        .map(|(resource, age)| format!("{resource} for {} s", age.as_secs()))
        .collect();
    let list = stale.join(", ");
    (!stale.is_empty()).then(|| format!("changes may go unseen: no working watch of {list}"))
}

impl Proof {
    /// Records that the watch works.
    pub fn renew(&self) {
        if let Some((_, proven)) = self.watches.lock().running.get_mut(&self.number) {
            *proven = Instant::now();
        }
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        self.watches.lock().running.remove(&self.number);
    }
}

impl Collector for Watches {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "watch_age",
            "Time since a watch of the API server has last proven that it works, by resource",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (resource, age) in self.ages() {
            let gauge = ConstGauge::new(age.as_secs_f64());
            gauge.encode(family.encode_family(&[("resource", resource.as_str())])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_stale_after_its_time_without_proof_and_forgotten_with_its_end() {
        let watches = Watches::default();
        let pods = watches.start("pods");
        let (ours, theirs) = (watches.start("secrets"), watches.start("secrets"));
        assert_eq!(watches.complaint(), None);
        let mut ages = watches.ages();
        assert_eq!(ages.len(), 2);
        ages.insert("secrets".to_owned(), STALE_AFTER + Duration::from_secs(4));
        let text = complaint(&ages).unwrap();
        assert!(
            text.ends_with("no working watch of secrets for 34 s"),
            "{text}"
        );
        pods.renew();
        drop((pods, ours, theirs));
        assert!(watches.ages().is_empty());
    }

    #[test]
    fn the_age_is_a_metric_by_resource() {
        let watches = Watches::default();
        let mut registry = Registry::with_prefix("fovea_operator");
        watches.register(&mut registry);
        let proof = watches.start("pods");
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let line = r#"fovea_operator_watch_age_seconds{resource="pods"} 0."#;
        assert!(text().contains(line), "{}", text());
        drop(proof);
        assert!(!text().contains("pods"), "{}", text());
    }
}
