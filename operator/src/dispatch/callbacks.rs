//! The callbacks of finished jobs, as far as the loop has to do with them: when, and whose turn.

use super::Dispatcher;
use crate::callback::lanes::{Lane, Lanes};
use crate::callback::{BOUNDS, Called};
use crate::job::{Finished, Outgoing, Tracked, delivery};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// A callback that could not be settled is looked at again after this.
const SETTLE_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// A due callback has been dealt with.
pub(super) struct CallEnded {
    uid: String,
    called: Called,
}

/// The callbacks that are due or under way.
pub(super) struct Calls {
    lanes: Lanes,
    ended: mpsc::Sender<CallEnded>,
    /// They end with the loop; the next leader repeats what was not recorded.
    tasks: HashMap<String, AbortOnDropHandle<()>>,
}

impl Calls {
    /// None yet; ends are told to `ended`.
    pub(super) fn new(ended: mpsc::Sender<CallEnded>) -> Self {
        Self {
            lanes: Lanes::new(BOUNDS),
            ended,
            tasks: HashMap::new(),
        }
    }

    /// How many wait for their turn, and how many are under way.
    pub(super) fn count(&self) -> (usize, usize) {
        self.lanes.count()
    }

    /// The job is gone.
    pub(super) fn forget(&mut self, uid: &str) {
        self.lanes.remove(uid);
    }
}

impl Dispatcher {
    /// Waits for a callback's time, or queues it.
    pub(super) fn look_at_callback(&mut self, uid: &str, job: &Finished, outgoing: &Outgoing) {
        let policy = self.parts.callbacks.policy();
        if delivery::waits(outgoing.due, policy, Timestamp::now()) {
            self.book.wake_at(uid, outgoing.due);
            return;
        }
        self.book.clear_timer(uid);
        let lane = Lane {
            namespace: job.namespace.clone(),
            receiver: outgoing.receiver.clone(),
        };
        self.calls.lanes.push(uid, lane);
    }

    /// Starts what is due, within the bounds.
    pub(super) fn call(&mut self) {
        while let Some(uid) = self.calls.lanes.take() {
            let Some(Tracked::Finished(finished)) = self.book.get(&uid) else {
                self.calls.lanes.left(&uid);
                continue;
            };
            let (finished, callbacks) = (finished.clone(), self.parts.callbacks.clone());
            let (writer, ended) = (self.writer.clone(), self.calls.ended.clone());
            let key = uid.clone();
            let task_uid = uid.clone();
            let call = async move { callbacks.call(&writer, &task_uid, &finished).await };
            let call = AbortOnDropHandle::new(tokio::spawn(call));
            let calling = tokio::spawn(async move {
                // Also of a call that panicked the end is told, so that it keeps no place.
                let called = call.await.unwrap_or(Called::Unsettled);
                // The loop has ended where this fails, and with it all interest.
                let _ = ended.send(CallEnded { uid, called }).await;
            });
            let handle = AbortOnDropHandle::new(calling);
            self.calls.tasks.insert(key, handle);
        }
    }

    pub(super) fn on_call_ended(&mut self, ended: CallEnded) {
        let CallEnded { uid, called } = ended;
        self.calls.lanes.left(&uid);
        self.calls.tasks.remove(&uid);
        match called {
            Called::Seen(job) => {
                self.see(*job);
                // What the watch has shown meanwhile was not acted on while the call was under way.
                self.look(&uid);
            }
            // The watch says so too, sooner or later.
            Called::Gone => {}
            Called::Unsettled => {
                if self.book.get(&uid).is_some() {
                    let again = Timestamp::now().saturating_add(SETTLE_AGAIN_AFTER);
                    self.book.wake_at(&uid, again.unwrap_or(Timestamp::MAX));
                }
            }
        }
    }
}
