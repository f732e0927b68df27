//! The highest memory of processes over a time.

use fovea_tests::measure::{kib, memory_bytes};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

const EVERY: Duration = Duration::from_millis(50);

/// Watches two processes until it is dropped.
pub(crate) struct Peak {
    bytes: Arc<[AtomicU64; 2]>,
    _watching: AbortOnDropHandle<()>,
}

impl Peak {
    pub(crate) fn watch(pids: [u32; 2]) -> Self {
        let bytes: Arc<[AtomicU64; 2]> = Arc::default();
        let watched = Arc::clone(&bytes);
        let watching = async move {
            let mut turns = tokio::time::interval(EVERY);
            loop {
                turns.tick().await;
                for (pid, most) in pids.into_iter().zip(watched.iter()) {
                    let now = memory_bytes(pid).unwrap_or_default();
                    most.fetch_max(now, Ordering::Relaxed);
                }
            }
        };
        Self {
            bytes,
            _watching: AbortOnDropHandle::new(tokio::spawn(watching)),
        }
    }

    /// So far, in MiB.
    pub(crate) fn mib(&self) -> [f64; 2] {
        let most = |bytes: &AtomicU64| kib(bytes.load(Ordering::Relaxed), 1024);
        self.bytes.each_ref().map(most)
    }
}
