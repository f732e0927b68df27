//! Probes the object store before this replica takes pictures, so that one that loses them is told by `/readyz`
//! and not by jobs whose picture is gone. It is probed again after it was away.

use fovea_store::{ProbeError, Store, StoreFault};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// Time from a probe that was not passed until the next one.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The same while the store cannot be probed, so that what a refused probe leaves behind stays little.
const UNPROBED_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// Upper bound on one probe.
const LIMIT: Duration = Duration::from_mins(2);

/// What is known of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Probed {
    /// No probe has found anything: the store is down, or denies a request.
    #[default]
    Unknown,
    Passed,
    Faulty(StoreFault),
}

/// Probes the store when it is asked, in tasks of their own: a request that ends early must not end a probe.
pub(crate) struct StoreProbe {
    store: Store,
    known: Arc<watch::Sender<Probed>>,
    /// The latest probe, and whether what it has found counts no more.
    latest: Arc<Mutex<Latest>>,
}

#[derive(Default)]
struct Latest {
    began: Option<Instant>,
    /// A probe is under way.
    is_probing: bool,
    /// The latest probe could not be made.
    is_unprobed: bool,
    is_stale: bool,
}

impl StoreProbe {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            known: Arc::default(),
            latest: Arc::default(),
        }
    }

    /// What is known of the store, which answers. Waits for a probe that begins now, within `limit`.
    pub(crate) async fn state(&self, limit: Duration) -> Probed {
        if !self.is_due() {
            return self.known.borrow().clone();
        }
        let (store, known) = (self.store.clone(), Arc::clone(&self.known));
        let latest = Arc::clone(&self.latest);
        let probing = tokio::spawn(async move {
            let id = uuid::Uuid::new_v4().to_string();
            let outcome = timeout(LIMIT, store.probe(&id)).await;
            {
                let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
                latest.is_probing = false;
                latest.is_unprobed = !matches!(outcome, Ok(Ok(()) | Err(ProbeError::Fault(_))));
            }
            known.send_modify(|known| *known = after(known.clone(), outcome.ok()));
        });
        // The task goes on when this ends.
        let _ = timeout(limit, probing).await;
        self.known.borrow().clone()
    }

    /// What is known without a probe.
    pub(crate) fn known(&self) -> Probed {
        self.known.borrow().clone()
    }

    /// The store was away: it may be another one now.
    pub(crate) fn was_away(&self) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.is_stale = true;
    }

    /// Whether to probe now; if so, nobody else does.
    fn is_due(&self) -> bool {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let again_after = if latest.is_unprobed {
            UNPROBED_AGAIN_AFTER
        } else {
            AGAIN_AFTER
        };
        let began = latest.began;
        let waits = latest.is_probing || began.is_some_and(|at| at.elapsed() < again_after);
        let is_due = !waits && (latest.is_stale || *self.known.borrow() != Probed::Passed);
        if is_due {
            *latest = Latest {
                began: Some(Instant::now()),
                is_probing: true,
                is_unprobed: false,
                is_stale: false,
            };
        }
        is_due
    }
}

/// What is known after a probe with this outcome, `None` for one that took too long.
fn after(before: Probed, outcome: Option<Result<(), ProbeError>>) -> Probed {
    match outcome {
        Some(Ok(())) => Probed::Passed,
        Some(Err(ProbeError::Fault(fault))) => {
            tracing::warn!("{fault}");
            Probed::Faulty(fault)
        }
        Some(Err(ProbeError::Store(error))) => {
            tracing::warn!(%error, "the object store could not be probed");
            before
        }
        None => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_store::StoreError;

    #[test]
    fn a_probe_that_could_not_be_made_changes_nothing_that_is_known() {
        let faulty = Probed::Faulty(StoreFault::Writes("it is gone".to_owned()));
        let down = || Some(Err(ProbeError::Store(StoreError::TimedOut)));
        for known in [Probed::Unknown, Probed::Passed, faulty.clone()] {
            assert_eq!(after(known.clone(), down()), known);
            assert_eq!(after(known.clone(), None), known);
            assert_eq!(after(known, Some(Ok(()))), Probed::Passed);
        }
        let fault = StoreFault::Writes("it is gone".to_owned());
        assert_eq!(after(Probed::Passed, Some(Err(fault.into()))), faulty);
    }
}
