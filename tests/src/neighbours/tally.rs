//! What a hostile tenant has, counted by its tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a hostile tenant has at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toll {
    /// Requests that are held open, jobs that have not ended, or callbacks under way.
    pub held: usize,
    /// Requests that were granted.
    pub accepted: usize,
    /// Requests that were refused or cut off.
    pub refused: usize,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    held: AtomicUsize,
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

/// A request that is held open; no longer once this is dropped.
pub(super) struct Held(Arc<Tally>);

impl Tally {
    pub(super) fn hold(self: &Arc<Self>) -> Held {
        self.held.fetch_add(1, Ordering::SeqCst);
        Held(Arc::clone(self))
    }

    pub(super) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn toll(&self) -> Toll {
        Toll {
            held: self.held.load(Ordering::SeqCst),
            accepted: self.accepted.load(Ordering::SeqCst),
            refused: self.refused.load(Ordering::SeqCst),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
    }
}
