//! Edits of finished jobs, such as of their `ttlSecondsAfterFinished`: their statuses follow, since tools take
//! a job for unfinished whose status names an earlier generation than its metadata.

use super::Dispatcher;
use crate::job::{Finished, Tracked};
use jiff::SignedDuration;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

/// Upper bound on these writes per second, so that an edit of thousands of finished jobs does not delay
/// results.
const WRITES_PER_SECOND: u32 = 20;

/// Bound on such writes under way.
const MAX_WRITES: usize = 8;

/// Wait before a job is reconciled again whose status could not be written.
const WRITE_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// The finished jobs whose edits are to be written, by uid: one entry at most for each job of the book.
pub(super) struct Edits {
    waiting: BTreeSet<String>,
    interval: Interval,
    /// Aborted with the loop: a replica without the lease must not write.
    writing: JoinSet<()>,
}

impl Edits {
    pub(super) fn new() -> Self {
        let mut interval = tokio::time::interval(Duration::from_secs(1) / WRITES_PER_SECOND);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            waiting: BTreeSet::new(),
            interval,
            writing: JoinSet::new(),
        }
    }

    /// Waits until the next one may be written; forever while there is none.
    pub(super) async fn due(&mut self) {
        if self.waiting.is_empty() {
            std::future::pending::<()>().await;
        }
        self.interval.tick().await;
    }

    pub(super) fn push(&mut self, uid: &str) {
        self.waiting.insert(uid.to_owned());
    }
}

impl Dispatcher {
    /// Writes the generation of the next edited job to its status. The watch delivers the result.
    pub(super) fn observe_edit(&mut self) {
        while self.edits.writing.try_join_next().is_some() {}
        if self.edits.writing.len() >= MAX_WRITES {
            return; // The next tick tries again.
        }
        let Some(uid) = self.edits.waiting.pop_first() else {
            return;
        };
        // It may be deleted, or observed, by now.
        let Some(Tracked::Finished(finished)) = self.book.get(&uid) else {
            return;
        };
        let Some(generation) = finished.unobserved else {
            return;
        };
        let finished = finished.clone();
        self.book.wake_after(&uid, WRITE_AGAIN_AFTER);
        let writer = self.writer.clone();
        self.edits.writing.spawn(async move {
            let written = writer.observe_generation(&uid, &finished, generation).await;
            if let Err(error) = written {
                let Finished {
                    name, namespace, ..
                } = &finished;
                tracing::warn!(job = %name, %namespace, %error, "writing that an edit of a finished job was seen failed");
            }
        });
    }
}
