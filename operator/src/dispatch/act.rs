//! Acts on decisions: writes statuses, starts attempts, deletes finished jobs.

use super::attempt::{Abort, After, Attempt, Done, RunnerWas};
use super::costs::Cost;
use super::queue::Waiting;
use super::turns::Turn;
use super::{Dispatcher, OnRunner, Task};
use crate::job::decide::{Action, Ending, Note, Observed, Placement, decide};
use crate::job::write::Written;
use crate::job::{Finished, Tracked, status};
use crate::time::later;
use fovea_crds::{InferenceJob, InferenceJobStatus};
use futures::FutureExt as _;
use jiff::SignedDuration;
use kube::ResourceExt;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// Shortest wait before a job of a full namespace is reconciled again: its condition is outdated once there is
/// room.
const HELD_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Wait before a job is reconciled again that was not marked `Accepted` because of the bound on such
/// writes, or whose namespace the watch has not delivered yet.
const RECONCILE_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// Upper bound per second on `Accepted` writes, on those that hold restored jobs, and on those that renew what a status
/// says, so that they do not delay results.
const ACCEPTED_WRITES_PER_SECOND: u32 = 20;

impl Dispatcher {
    /// Reconciles one job: decides what it needs now, and acts on it.
    pub(super) fn reconcile(&mut self, uid: &str) {
        if !self.synced.all() {
            return;
        }
        match self.book.get(uid) {
            None => {}
            Some(Tracked::Finished(finished)) => {
                let finished = finished.clone();
                self.pools.unqueue(uid);
                self.reconcile_finished(uid, &finished);
            }
            Some(Tracked::Unfinished(job)) => {
                let job = Arc::clone(job);
                self.reconcile_unfinished(uid, &job);
            }
        }
    }

    fn reconcile_unfinished(&mut self, uid: &str, job: &Arc<InferenceJob>) {
        self.batches.update(uid, job);
        let task = self.tasks.get(uid);
        if task.is_some_and(|task| task.abort.is_none()) {
            return; // A write is under way; the job is reconciled again when it ends.
        }
        let now = crate::time::now();
        let placement = self.directory.resolve(job);
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let full = self.retention.fullness(namespace);
        let excess = self.quota.excess(uid);
        if excess.is_none() && self.book.is_reduced(uid) {
            return self.read_again(uid.to_owned(), Duration::ZERO);
        }
        let observed = Observed {
            job,
            now,
            in_flight: task.is_some(),
            placement: &placement,
            full: full.as_deref(),
            excess: excess.as_deref(),
            restore: self.parts.restore,
        };
        match decide(observed) {
            Action::Leave => {
                self.pools.unqueue(uid);
                self.book.clear_timer(uid);
            }
            Action::WakeAt(at) => {
                self.pools.unqueue(uid);
                self.book.wake_at(uid, at);
            }
            Action::Write(note) if note.may_wait(job) && !self.may_write_accepted() => {
                self.pools.unqueue(uid);
                let (unfinished, _) = self.book.count();
                let wait = spread(unfinished, RECONCILE_AGAIN_AFTER);
                self.book.wake_after(uid, wait);
            }
            Action::Write(note) => self.write_note(uid, job, note),
            Action::End(ending) => self.end(uid, job, placement.as_ref().ok(), ending),
            Action::Hold { wake_at, note } => {
                self.pools.unqueue(uid);
                match note {
                    None => self.book.wake_at(uid, wake_at),
                    Some(note) if self.may_write_accepted() => self.write_note(uid, job, note),
                    Some(_) => {
                        let wait = spread(self.waiting(), RECONCILE_AGAIN_AFTER);
                        self.book.wake_after(uid, wait);
                    }
                }
            }
            Action::Queue {
                placement,
                wake_at,
                note,
            } => {
                let again = match &note {
                    Some(_) => Some(RECONCILE_AGAIN_AFTER),
                    None => full.is_some().then_some(HELD_AGAIN_AFTER),
                };
                let is_batch = job.spec.input.is_batch();
                match note {
                    _ if is_batch && full.is_none() => {
                        self.begin_batch(uid, job, &placement, None);
                    }
                    Some(note) if self.may_write_accepted() => self.write_note(uid, job, note),
                    _ if is_batch => self.book.wake_after(uid, HELD_AGAIN_AFTER),
                    _ => {
                        self.pools.enqueue(uid, job, &placement);
                        let again = again.map(|wait| later(now, spread(self.waiting(), wait)));
                        let wake_at = again.map_or(wake_at, |again| again.min(wake_at));
                        self.book.wake_at(uid, wake_at);
                    }
                }
            }
        }
    }

    /// Number of jobs that wait for a runner or for their namespace.
    fn waiting(&self) -> usize {
        self.pools.waiting() + self.quota.waiting()
    }

    /// Reconciles the waiting jobs of namespaces that have become full since the last call, so that
    /// their conditions say so.
    pub(super) fn follow_full_namespaces(&mut self) -> usize {
        let full = self.retention.full();
        let new: HashSet<&String> = full.difference(&self.full_namespaces).collect();
        if !new.is_empty() {
            tracing::info!(namespaces = ?new, "too many finished jobs: no other starts until some are deleted");
            for uid in self.pools.waiting_in(&new) {
                let wait = spread(self.waiting(), RECONCILE_AGAIN_AFTER);
                self.book.wake_after(&uid, wait);
            }
        }
        self.full_namespaces = full;
        self.full_namespaces.len()
    }

    /// Reconciles the jobs for which there is room in their namespaces now.
    pub(super) fn reconcile_released(&mut self) {
        for uid in self.quota.take_released() {
            self.reconcile(&uid);
        }
    }

    fn write_note(&mut self, uid: &str, job: &InferenceJob, note: Note) {
        let noted = move |job: &InferenceJob| status::noted(job, &note, crate::time::now());
        self.write(uid, job, noted);
    }

    /// Whether another `Accepted` write is allowed now; if so, it counts as made.
    fn may_write_accepted(&mut self) -> bool {
        let now = Instant::now();
        let may = self
            .accepted_written
            .is_none_or(|last| now - last >= Duration::from_secs(1) / ACCEPTED_WRITES_PER_SECOND);
        if may {
            self.accepted_written = Some(now);
        }
        may
    }

    fn end(
        &mut self,
        uid: &str,
        job: &Arc<InferenceJob>,
        placement: Option<&Placement>,
        ending: Ending,
    ) {
        if let Some(task) = self.tasks.get_mut(uid) {
            if let Some(abort) = task.abort.take() {
                // This fails where the task has ended meanwhile; its end reconciles the job again.
                let _ = abort.send(Abort::End(ending));
            }
            return;
        }
        let has_started = job
            .status
            .as_ref()
            .is_some_and(|status| status.start_time.is_some() || status.counts.is_some());
        if let Some(placement) = placement
            && job.spec.input.is_batch()
            && has_started
        {
            return self.begin_batch(uid, job, placement, Some(ending));
        }
        self.write(uid, job, move |job| {
            status::ended(job, None, &ending, crate::time::now())
        });
    }

    /// Writes a status in a task outside the loop.
    pub(super) fn write(
        &mut self,
        uid: &str,
        job: &InferenceJob,
        make: impl Fn(&InferenceJob) -> InferenceJobStatus + Send + Sync + 'static,
    ) {
        self.pools.unqueue(uid);
        self.book.clear_timer(uid);
        let (writer, permits) = (self.writer.clone(), Arc::clone(&self.writes));
        let job = job.clone();
        let namespace = job.namespace().unwrap_or_default();
        let writing = async move {
            let _permit = permits.acquire().await;
            writer.write(job, make).await
        };
        self.start_write(uid.to_owned(), namespace, None, writing);
    }

    /// Runs `writing` in a task; the job is reconciled again when it ends. `abort` ends it, if that is
    /// possible.
    pub(super) fn start_write(
        &mut self,
        uid: String,
        namespace: String,
        abort: Option<oneshot::Sender<Abort>>,
        writing: impl Future<Output = Written> + Send + 'static,
    ) {
        let (done, key) = (self.done.clone(), uid.clone());
        let writing = tokio::spawn(async move {
            // A task that panicked ends, too.
            let written = AssertUnwindSafe(writing).catch_unwind().await;
            let ended = Done {
                uid,
                after: After::Written(written.unwrap_or(Written::Unknown)),
                runner: RunnerWas::NOT_INVOLVED,
                cost: Cost::Nothing,
            };
            // This fails only where the loop has ended.
            let _ = done.send(ended).await;
        });
        self.tasks.insert(
            key,
            Task {
                namespace,
                on: None,
                abort,
                began: Instant::now(),
                _handle: AbortOnDropHandle::new(writing),
            },
        );
    }

    fn reconcile_finished(&mut self, uid: &str, finished: &Finished) {
        self.retention.keep(uid, finished);
        let expired = finished
            .expires()
            .is_some_and(|at| at <= crate::time::now());
        if finished.unobserved.is_some() && !expired {
            self.edits.push(uid, &finished.namespace);
        } else {
            self.edits.forget(uid);
        }
        if let Some(outgoing) = &finished.callback {
            return self.reconcile_callback(uid, finished, outgoing);
        }
        match finished.expires() {
            None => self.book.clear_timer(uid),
            Some(at) if at > crate::time::now() => self.book.wake_at(uid, at),
            Some(_) => self.retention.expire(uid),
        }
    }

    /// Starts attempts while there are waiting jobs and free runners.
    pub(super) fn dispatch(&mut self) {
        loop {
            if let Some(full) = self.retention.changed_full() {
                self.pools.close(full);
            }
            let Some((placement, waiting, turn)) = self.pools.next() else {
                return;
            };
            let Some(Tracked::Unfinished(job)) = self.book.get(&waiting.uid) else {
                self.pools.not_dispatched(&placement.pool, &turn);
                continue;
            };
            let job = InferenceJob::clone(job);
            if !self.directory.namespaces.contains_key(&waiting.namespace) {
                self.pools.not_dispatched(&placement.pool, &turn);
                self.book.wake_after(&waiting.uid, RECONCILE_AGAIN_AFTER);
                continue;
            }
            self.begin(job, placement, waiting, turn);
        }
    }

    fn begin(&mut self, job: InferenceJob, placement: Placement, waiting: Waiting, turn: Turn) {
        let Waiting { uid, namespace, .. } = waiting;
        let uid = uid.as_str();
        let status = job.status.as_ref();
        let avoid = status
            .filter(|status| status.interruptions > 0)
            .and_then(|status| status.runner.clone());
        let Some(chosen) = self.pools.choose(&placement, avoid.as_deref()) else {
            self.pools.not_dispatched(&placement.pool, &turn);
            self.pools.enqueue(uid, &job, &placement);
            return;
        };
        let exclusive = status.is_some_and(|status| status.exclusive);
        let (abort, aborted) = oneshot::channel();
        let on = Some(OnRunner {
            pool: placement.pool.clone(),
            endpoint: chosen.endpoint,
            turn,
        });
        self.book.clear_timer(uid);
        let attempt = Attempt {
            job,
            folders: Arc::clone(&self.folders),
            answers: Arc::clone(&self.answers),
            placement,
            runner: chosen.client,
            leader: chosen.leader,
            alone_on_a_proven_runner: exclusive && chosen.idle_and_proven,
            writer: self.writer.clone(),
            store: self.parts.store.clone(),
            store_check: Arc::clone(&self.store_check),
            metrics: Arc::clone(&self.parts.metrics),
        };
        let (done, key) = (self.done.clone(), uid.to_owned());
        let running = tokio::spawn(async move {
            let ended = AssertUnwindSafe(Box::pin(attempt.run(aborted)));
            // A task that panicked ends, too.
            let ended = ended.catch_unwind().await.unwrap_or(Done {
                uid: key,
                after: After::Written(Written::Unknown),
                runner: RunnerWas::Unavailable,
                cost: Cost::Nothing,
            });
            let _ = done.send(ended).await;
        });
        let handle = AbortOnDropHandle::new(running);
        self.retention.started(uid, &namespace);
        self.tasks.insert(
            uid.to_owned(),
            Task {
                namespace,
                on,
                abort: Some(abort),
                began: Instant::now(),
                _handle: handle,
            },
        );
        // In flight now: this sets the timer for its active deadline.
        self.reconcile(uid);
    }
}

/// A wait of at least `shortest` after which one of so many jobs is reconciled. The waits of all are spread
/// evenly, so that about as many jobs have their turn in each second as `Accepted` writes are allowed.
fn spread(jobs: usize, shortest: SignedDuration) -> SignedDuration {
    let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
    let all = f64::from(jobs) / f64::from(ACCEPTED_WRITES_PER_SECOND);
    let wait = SignedDuration::try_from_secs_f64(all * rand::random::<f64>());
    shortest.max(wait.unwrap_or_default())
}
