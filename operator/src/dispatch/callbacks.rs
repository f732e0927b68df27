//! Schedules the callbacks of finished jobs: when each is due, and whose turn it is.

use super::Dispatcher;
use crate::callback::BOUNDS;
use crate::callback::queue::CallbackQueue;
use crate::job::write::Written;
use crate::job::{Finished, Outgoing, Tracked, delivery};
use jiff::SignedDuration;
use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Wait before a callback that could not be recorded is reconciled again.
const SETTLE_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(30);

pub(super) struct CallEnded {
    uid: String,
    job: Written,
}

pub(super) struct Calls {
    queue: CallbackQueue,
    ended: mpsc::Sender<CallEnded>,
    /// Aborted with the loop; the next leader repeats callbacks that were not recorded.
    tasks: HashMap<String, AbortOnDropHandle<()>>,
}

impl Calls {
    /// No callbacks yet; the end of each is sent to `ended`.
    pub(super) fn new(ended: mpsc::Sender<CallEnded>) -> Self {
        Self {
            queue: CallbackQueue::new(BOUNDS),
            ended,
            tasks: HashMap::new(),
        }
    }

    /// The number of callbacks that wait for their turn, and of those under way.
    pub(super) fn count(&self) -> (usize, usize) {
        self.queue.count()
    }

    pub(super) fn namespaces(&self) -> usize {
        self.queue.namespaces()
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.queue.remove(uid);
    }
}

impl Dispatcher {
    /// Waits for a callback's time, or queues it.
    pub(super) fn reconcile_callback(&mut self, uid: &str, job: &Finished, outgoing: &Outgoing) {
        let policy = self.parts.callbacks.policy();
        if delivery::waits(outgoing.due, policy, crate::time::now()) {
            self.book.wake_at(uid, outgoing.due);
            return;
        }
        self.book.clear_timer(uid);
        let lane = (&*job.namespace, &*outgoing.receiver);
        self.calls.queue.push(uid, lane);
    }

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
            Written::Current(job) | Written::Ended(job) => {
                self.observe(*job);
                // Changes that the watch delivered during the call have not been acted on yet.
                self.reconcile(&uid);
            }
            // If it is gone, the watch will deliver the deletion.
            Written::Unknown | Written::Unchanged => {
                if self.book.get(&uid).is_some() {
                    self.book.wake_after(&uid, SETTLE_AGAIN_AFTER);
                }
            }
        }
    }
}
