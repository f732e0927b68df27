//! Edits of finished jobs, such as of their `ttlSecondsAfterFinished`. Their statuses are written again, because
//! tools take a job for unfinished while its status names an earlier generation than its metadata.

use super::Dispatcher;
use crate::job::{Finished, Tracked};
use jiff::SignedDuration;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
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

pub(super) struct Edits {
    waiting: Waiting,
    interval: Interval,
    /// Aborted with the loop: a replica without the lease must not write.
    writing: JoinSet<()>,
}

/// The finished jobs whose edits are to be written: each once at most, and only jobs of the book. The namespaces
/// take turns; the edits of one are written in the order in which they were seen.
#[derive(Default)]
struct Waiting {
    /// Uids by namespace, and by place.
    namespaces: BTreeMap<Box<str>, BTreeMap<u64, String>>,
    place_of: HashMap<String, (Box<str>, u64)>,
    next_place: u64,
    /// The namespace that had the last turn.
    last: Box<str>,
}

impl Waiting {
    fn push(&mut self, uid: &str, namespace: &str) {
        if self.place_of.contains_key(uid) {
            return;
        }
        let place = self.next_place;
        self.next_place += 1;
        let uids = self.namespaces.entry(namespace.into()).or_default();
        uids.insert(place, uid.to_owned());
        self.place_of
            .insert(uid.to_owned(), (namespace.into(), place));
    }

    fn forget(&mut self, uid: &str) {
        let Some((namespace, place)) = self.place_of.remove(uid) else {
            return;
        };
        if let Some(uids) = self.namespaces.get_mut(&namespace) {
            uids.remove(&place);
            if uids.is_empty() {
                self.namespaces.remove(&namespace);
            }
        }
    }

    fn pop(&mut self) -> Option<String> {
        let after = (Excluded(self.last.clone()), Unbounded);
        let next = self.namespaces.range(after).next();
        let (namespace, uids) = next.or_else(|| self.namespaces.iter().next())?;
        let uid = uids.values().next()?.clone();
        self.last.clone_from(namespace);
        self.forget(&uid);
        Some(uid)
    }
}

impl Edits {
    pub(super) fn new() -> Self {
        let mut interval = tokio::time::interval(Duration::from_secs(1) / WRITES_PER_SECOND);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            waiting: Waiting::default(),
            interval,
            writing: JoinSet::new(),
        }
    }

    /// Waits until the next one may be written; forever while there is none.
    pub(super) async fn due(&mut self) {
        if self.waiting.place_of.is_empty() {
            std::future::pending::<()>().await;
        }
        self.interval.tick().await;
    }

    pub(super) fn push(&mut self, uid: &str, namespace: &str) {
        self.waiting.push(uid, namespace);
    }

    /// There is nothing to write of this job any more.
    pub(super) fn forget(&mut self, uid: &str) {
        self.waiting.forget(uid);
    }
}

impl Dispatcher {
    /// Writes the generation of the next edited job to its status. The watch delivers the result.
    pub(super) fn observe_edit(&mut self) {
        while self.edits.writing.try_join_next().is_some() {}
        if self.edits.writing.len() >= MAX_WRITES {
            return; // The next tick tries again.
        }
        while let Some(uid) = self.edits.waiting.pop() {
            // A restore may have set it back to an unfinished one.
            if let Some(Tracked::Finished(finished)) = self.book.get(&uid)
                && let Some(generation) = finished.unobserved
            {
                let finished = finished.clone();
                return self.write_generation(uid, finished, generation);
            }
        }
    }

    fn write_generation(&mut self, uid: String, finished: Finished, generation: i64) {
        self.book.wake_within(&uid, WRITE_AGAIN_AFTER);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_take_turns_and_each_writes_its_edits_in_order() {
        let mut waiting = Waiting::default();
        for uid in ["z", "y", "x", "z"] {
            waiting.push(uid, "busy");
        }
        waiting.push("b", "quiet");
        waiting.push("a", "gone");
        waiting.forget("y");
        waiting.forget("a");
        let all: Vec<String> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(all, ["z", "b", "x"]);
        assert!(waiting.namespaces.is_empty() && waiting.place_of.is_empty());
        waiting.push("z", "busy");
        assert_eq!(waiting.pop().as_deref(), Some("z"));
    }
}
