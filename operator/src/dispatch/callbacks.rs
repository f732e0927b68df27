//! The callbacks of finished jobs, as far as the loop has to do with them: when, and whose turn.

use super::Dispatcher;
use crate::callback::BOUNDS;
use crate::callback::queue::CallbackQueue;
use crate::job::write::Written;
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
    job: Written,
}

/// The callbacks that are due or under way.
pub(super) struct Calls {
    queue: CallbackQueue,
    ended: mpsc::Sender<CallEnded>,
    /// They end with the loop; the next leader repeats what was not recorded.
    tasks: HashMap<String, AbortOnDropHandle<()>>,
}

impl Calls {
    /// None yet; ends are told to `ended`.
    pub(super) fn new(ended: mpsc::Sender<CallEnded>) -> Self {
        Self {
            queue: CallbackQueue::new(BOUNDS),
            ended,
            tasks: HashMap::new(),
        }
    }

    /// How many wait for their turn, and how many are under way.
    pub(super) fn count(&self) -> (usize, usize) {
        self.queue.count()
    }

    /// The job is gone.
    pub(super) fn forget(&mut self, uid: &str) {
        self.queue.remove(uid);
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
        let lane = (&*job.namespace, &*outgoing.receiver);
        self.calls.queue.push(uid, lane);
    }

    /// Starts what is due, within the bounds.
    pub(super) fn call(&mut self) {
        while let Some(uid) = self.calls.queue.pop() {
            let Some(Tracked::Finished(finished)) = self.book.get(&uid) else {
                self.calls.queue.finished(&uid);
                continue;
            };
            let (finished, callbacks) = (finished.clone(), self.parts.callbacks.clone());
            let (writer, ended) = (self.writer.clone(), self.calls.ended.clone());
            let key = uid.clone();
            let task_uid = uid.clone();
            let call = async move { callbacks.call(&writer, &task_uid, &finished).await };
            let call = AbortOnDropHandle::new(tokio::spawn(call));
            let calling = tokio::spawn(async move {
                // A call that panicked ends too, so that it frees its slot.
                let job = call.await.unwrap_or(Written::Unchanged);
                // This fails only where the loop has ended.
                let _ = ended.send(CallEnded { uid, job }).await;
            });
            let handle = AbortOnDropHandle::new(calling);
            self.calls.tasks.insert(key, handle);
        }
    }

    pub(super) fn on_call_ended(&mut self, ended: CallEnded) {
        let CallEnded { uid, job } = ended;
        self.calls.queue.finished(&uid);
        self.calls.tasks.remove(&uid);
        match job {
            Written::Current(job) => {
                self.see(*job);
                // What the watch has shown meanwhile was not acted on while the call was under way.
                self.look(&uid);
            }
            // The watch will deliver the deletion.
            Written::Superseded => {}
            Written::Unchanged => {
                if self.book.get(&uid).is_some() {
                    let again = Timestamp::now().saturating_add(SETTLE_AGAIN_AFTER);
                    self.book.wake_at(&uid, again.unwrap_or(Timestamp::MAX));
                }
            }
        }
    }
}
