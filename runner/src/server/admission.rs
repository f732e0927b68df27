//! Admission of requests: slots, epochs (rule 5), and one attempt of a job at a time.
//!
//! One lock guards every decision: a new epoch aborts all requests of lower epochs admitted before
//! it, and refuses those that arrive after it.

use super::claim::{Claim, ShardRange, Slots};
use super::installations::{Installations, Sender};
use fovea_protocol::{Problem, Reason};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct Admissions {
    slots: Slots,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    busy: watch::Sender<Slots>,
}

#[derive(Debug)]
struct State {
    installations: Installations,
    running: HashMap<u64, Running>,
    next: u64,
}

#[derive(Debug)]
struct Running {
    installation: String,
    epoch: u64,
    job: String,
    shard: Option<ShardRange>,
    attempt: u32,
    abort: Abort,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Abort {
    /// Cancelled when the attempt must end, for whatever reason.
    pub(super) token: CancellationToken,
    why: Arc<OnceLock<Problem>>,
}

impl Abort {
    /// Aborts the attempt; the first reason counts.
    pub(super) fn abort(&self, reason: Reason, why: &str) {
        self.why.get_or_init(|| Problem::new(reason, why));
        self.token.cancel();
    }

    /// Resolves with the reason once the attempt is aborted.
    pub(super) async fn aborted(&self) -> Problem {
        self.token.cancelled().await;
        self.why
            .get()
            .cloned()
            .unwrap_or_else(|| Problem::new(Reason::InferenceFailed, "the attempt was aborted"))
    }
}

/// A slot, released on drop.
#[derive(Debug)]
pub(super) struct Admission {
    /// No other admission of this process has it.
    pub(super) id: u64,
    pub(super) abort: Abort,
    is_shard: bool,
    spent: Spent,
    inner: Arc<Inner>,
}

/// Time of the runner that an attempt has used: decoding, and its share of the device's passes.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent(Arc<AtomicU64>);

impl Spent {
    pub(super) fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Admission {
    pub(super) fn is_shard(&self) -> bool {
        self.is_shard
    }

    /// The attempt has used the runner for so long.
    pub(super) fn spend(&self, time: Duration) {
        self.spent.add(time);
    }

    pub(super) fn spent(&self) -> &Spent {
        &self.spent
    }

    /// A number that no other request of this process has.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.running.remove(&self.id);
        self.inner.publish_busy(&state);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_busy(&self, state: &State) {
        self.busy.send_replace(state.busy());
    }
}

impl Admissions {
    /// `forget_after`: time after which a silent installation may be forgotten.
    pub(super) fn new(slots: Slots, forget_after: Duration) -> Self {
        let (busy, _) = watch::channel(Slots::default());
        let state = Mutex::new(State {
            installations: Installations::new(forget_after),
            running: HashMap::new(),
            next: 0,
        });
        Self {
            slots,
            inner: Arc::new(Inner { state, busy }),
        }
    }

    /// Records a leader's epoch: requests of lower epochs are aborted, and refused from now on.
    pub(super) fn observe(&self, sender: Sender<'_>) -> Result<(), Problem> {
        self.inner.lock().observe(sender)
    }

    /// Admits the request, or returns the problem to answer it with.
    ///
    /// An older attempt of the same job, or of the same batch with a picture in common, is aborted: one operator
    /// runs one attempt at a time, so its connection is gone. It keeps its slot until its work has really
    /// stopped. After a restore of the cluster a leader may count a job's attempts from a lower number
    /// than its predecessor did.
    pub(super) fn admit<'a>(&self, claim: impl Into<Claim<'a>>) -> Result<Admission, Problem> {
        let Claim {
            sender,
            job,
            shard,
            attempt,
        } = claim.into();
        let Sender {
            installation,
            epoch,
            ..
        } = sender;
        let mut state = self.inner.lock();
        state.observe(sender)?;
        let same = state.running.values().filter(|running| {
            (running.installation.as_str(), running.job.as_str()) == (installation, job)
                && match (running.shard, shard) {
                    (None, None) => true,
                    (Some(running), Some(range)) => running.overlaps(range),
                    _ => false,
                }
        });
        for running in same {
            if (running.epoch, running.attempt) > (epoch, attempt) {
                return Err(Problem::new(
                    Reason::StaleEpoch,
                    format!(
                        "attempt {} of this job is running; attempt {attempt} is over",
                        running.attempt
                    ),
                ));
            }
            let why = "a newer attempt of the same job has arrived";
            running.abort.abort(Reason::StaleEpoch, why);
        }
        let Slots { jobs, shards } = state.busy();
        let (busy, slots, of) = match shard {
            None => (jobs, self.slots.jobs, ""),
            Some(_) => (shards, self.slots.shards, " for shards"),
        };
        if busy >= slots {
            let why = format!("all {slots} slots{of} are in use");
            return Err(Problem::new(Reason::Busy, why));
        }
        let (id, abort) = (state.next, Abort::default());
        state.next += 1;
        state.running.insert(
            id,
            Running {
                installation: installation.to_owned(),
                epoch,
                job: job.to_owned(),
                shard,
                attempt,
                abort: abort.clone(),
            },
        );
        self.inner.publish_busy(&state);
        let inner = Arc::clone(&self.inner);
        Ok(Admission {
            id,
            abort,
            is_shard: shard.is_some(),
            spent: Spent::default(),
            inner,
        })
    }

    /// The slots that are in use.
    pub(super) fn busy(&self) -> Slots {
        *self.inner.busy.borrow()
    }

    /// Resolves once no slot is in use.
    pub(super) async fn idle(&self) {
        let mut busy = self.inner.busy.subscribe();
        // The sender lives as long as `self`.
        let _ = busy.wait_for(|busy| *busy == Slots::default()).await;
    }

    pub(super) fn abort_all(&self) {
        for running in self.inner.lock().running.values() {
            running
                .abort
                .abort(Reason::NotReady, "the runner is shutting down");
        }
    }
}

impl State {
    fn busy(&self) -> Slots {
        let all = self.running.len();
        let jobs = (self.running.values()).filter(|running| running.shard.is_none());
        let jobs = jobs.count();
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Slots {
            jobs: count(jobs),
            shards: count(all - jobs),
        }
    }

    fn observe(&mut self, sender: Sender<'_>) -> Result<(), Problem> {
        let of = |running: &Running, installation: &str| running.installation == installation;
        let is_busy = |installation: &str| {
            let mut running = self.running.values();
            running.any(|running| of(running, installation))
        };
        (self.installations).observe(sender, Instant::now(), is_busy)?;
        for running in self.running.values() {
            if of(running, sender.installation) && running.epoch < sender.epoch {
                let why = "a leader of a higher epoch has taken over";
                running.abort.abort(Reason::StaleEpoch, why);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
