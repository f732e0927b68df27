//! How an attempt ends early with what is done, and how far it has come.

use fovea_protocol::{Problem, Progress};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Ends an attempt early: no further picture begins, and what is done is written.
#[derive(Debug, Default)]
pub(super) struct Stop {
    token: CancellationToken,
    why: OnceLock<Option<Problem>>,
    /// Index after the last picture that the device has begun.
    running: AtomicU64,
}

impl Stop {
    /// Stops, and says why unless the operator wanted it; the first reason counts.
    pub(super) fn stop(&self, why: Option<Problem>) {
        self.why.get_or_init(|| why);
        self.token.cancel();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    pub(super) async fn stopped(&self) {
        self.token.cancelled().await;
    }

    /// The device has begun this picture.
    pub(super) fn run(&self, index: u64) {
        self.running.fetch_max(index + 1, Ordering::Relaxed);
    }

    /// Resolves when a picture that the device has not begun has to end: once the attempt is stopped,
    /// unless a later picture has been begun, since results without a gap are all that can be written.
    pub(super) async fn stopped_before(&self, index: u64) {
        self.stopped().await;
        if index < self.running.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn why(&self) -> Option<Problem> {
        self.why.get().cloned().flatten()
    }
}

/// Counts the pictures of an attempt.
#[derive(Debug)]
pub(super) struct Progressing {
    succeeded: AtomicU64,
    failed: AtomicU64,
    begun: AtomicU64,
}

impl Progressing {
    pub(super) fn new(from: u64) -> Self {
        Self {
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            begun: AtomicU64::new(from),
        }
    }

    pub(super) fn begin(&self, index: u64) {
        self.begun.fetch_max(index + 1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, failed: bool) {
        let count = if failed {
            &self.failed
        } else {
            &self.succeeded
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, cost_micros: u64) -> Progress {
        Progress {
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            begun: self.begun.load(Ordering::Relaxed),
            cost_micros: Some(cost_micros),
            ..Progress::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_protocol::Reason;
    use futures::FutureExt as _;

    #[test]
    fn pictures_before_one_that_runs_are_not_stopped() {
        let stop = Stop::default();
        stop.run(4);
        assert!(stop.stopped_before(9).now_or_never().is_none());
        stop.stop(None);
        stop.stop(Some(Problem::new(Reason::NotReady, "later")));
        assert!(stop.stopped_before(3).now_or_never().is_none());
        assert!(stop.stopped_before(5).now_or_never().is_some());
        assert_eq!(stop.why(), None);
    }
}
