//! Probes the object store while this replica leads, so that one that loses objects, or lists other objects than
//! it has, is told at the start and not by what is missing later.
//!
//! Nothing waits for the probe but the sweeper, which deletes nothing before a store has passed, and batches on a
//! store whose lists are known to be wrong. What is found is said by `/readyz`, a metric, the pools' condition
//! Degraded and the log.

mod findings;

pub(crate) use findings::LISTS_UNRELIABLE;
pub use findings::{StoreFindings, StoreState};

use crate::metrics::Metrics;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use findings::after;
use fovea_store::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A store that has passed is probed again after this time.
const EVERY: Duration = Duration::from_hours(1);

/// A store that has failed a request is probed again after this time: it may be another one.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Upper bound on one probe.
const LIMIT: Duration = Duration::from_mins(2);

/// Pauses after a probe that was not passed.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(Duration::from_mins(1))
    .without_max_times();

pub(crate) struct StoreProbe {
    pub store: Store,
    pub findings: StoreFindings,
    pub metrics: Arc<Metrics>,
}

impl StoreProbe {
    /// Probes the store now and then, until dropped.
    pub(crate) async fn run(self) {
        let mut pauses = PAUSES.build();
        loop {
            let failed = self.metrics.store_failed();
            if self.probe().await {
                pauses = PAUSES.build();
                let again = async {
                    failed.notified().await;
                    sleep(AFTER_FAILURE).await;
                };
                let _ = timeout(EVERY, again).await;
            } else {
                sleep(pauses.next().unwrap_or(AFTER_FAILURE)).await;
            }
        }
    }

    /// Probes the store once; whether it has passed.
    async fn probe(&self) -> bool {
        let id = uuid::Uuid::new_v4().to_string();
        let outcome = timeout(LIMIT, self.store.probe(&id)).await;
        let before = self.findings.current();
        let (state, passed) = after(&before, outcome.ok());
        if state != before {
            if let Some(complaint) = state.complaint() {
                tracing::warn!("{complaint}");
            } else {
                tracing::info!("the object store has passed its probe");
            }
        }
        self.metrics.store_state(state.fault());
        self.findings.set(state);
        passed
    }
}

#[cfg(test)]
mod store_tests;
