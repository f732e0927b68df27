//! Whether the object store answers the operator: tells an outage from a runner that cannot reach the
//! store.

use fovea_store::{Store, StoreError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// An answer holds for so long, so that many failed attempts at once cost one request.
const HOLDS_FOR: Duration = Duration::from_secs(5);

/// A store that takes longer is down.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) struct StoreCheck {
    store: Store,
    /// When the store was last asked, and whether it was down.
    last: Mutex<Option<(Instant, bool)>>,
}

impl StoreCheck {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            last: Mutex::new(None),
        }
    }

    /// Whether the store does not answer. A refusal is an answer.
    pub(super) async fn is_down(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((_, down)) = last.filter(|(at, _)| at.elapsed() < HOLDS_FOR) {
            return down;
        }
        let down = match timeout(LIMIT, self.store.check()).await {
            Ok(answer) => answer.is_err_and(|error: StoreError| !error.is_refusal()),
            Err(_) => true,
        };
        *last = Some((Instant::now(), down));
        down
    }
}
