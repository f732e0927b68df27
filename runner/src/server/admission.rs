//! Admission of requests: slots, epochs (rule 5), and one attempt of a job at a time.
//!
//! One lock guards every decision: a new epoch aborts all requests of lower epochs admitted before
//! it, and refuses those that arrive after it.

use super::claim::{Claim, ShardRange, Slots};
use super::installations::{Installations, Sender};
use fovea_protocol::{Problem, Reason};
use std::collections::HashMap;
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
    inner: Arc<Inner>,
}

impl Admission {
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
        Ok(Admission { id, abort, inner })
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
mod tests {
    use super::*;
    use fovea_protocol::{InferRequest, ShardRequest};
    use fovea_protocol::{Input, Parameters, PartFormat, ShardOf, Source, Task};

    fn request(installation: &str, epoch: u64, job: &str, attempt: u32) -> InferRequest {
        InferRequest {
            installation: installation.to_owned(),
            epoch,
            job: job.to_owned(),
            attempt,
            task: Task::ImageToText,
            model: "m".to_owned(),
            input: Input {
                source: Source::Data(String::new()),
                sha256: None,
            },
            parameters: Parameters::default(),
            deadline_millis: 1,
            exclusive: false,
        }
    }

    fn admissions(jobs: u32) -> Admissions {
        let slots = Slots { jobs, shards: 1 };
        Admissions::new(slots, Duration::from_hours(1))
    }

    fn shard(job: &str, shard: u32, attempt: u32) -> ShardRequest {
        ShardRequest {
            installation: "i".to_owned(),
            epoch: 1,
            job: job.to_owned(),
            shard,
            attempt,
            task: Task::ImageToText,
            model: "m".to_owned(),
            parameters: Parameters::default(),
            format: PartFormat::Jsonl,
            of: ShardOf::Pictures,
            from: 0,
            to: Some(1),
            finish_after_millis: 1,
            deadline_millis: 1,
            exclusive: false,
        }
    }

    fn leader(installation: &str, epoch: u64) -> Sender<'_> {
        Sender {
            installation,
            epoch,
            holder: None,
        }
    }

    fn reason(refused: Result<Admission, Problem>) -> Reason {
        refused.unwrap_err().reason
    }

    #[test]
    fn the_request_after_the_last_slot_is_busy_until_one_is_free() {
        let admissions = admissions(2);
        let first = admissions.admit(&request("i", 1, "a", 1)).unwrap();
        let _second = admissions.admit(&request("i", 1, "b", 1)).unwrap();
        assert_eq!(
            reason(admissions.admit(&request("i", 1, "c", 1))),
            Reason::Busy
        );
        assert_eq!(admissions.busy(), Slots { jobs: 2, shards: 0 });
        drop(first);
        admissions.admit(&request("i", 1, "c", 1)).unwrap();
    }

    #[test]
    fn a_higher_epoch_aborts_the_lower_ones_of_its_own_installation() {
        let admissions = admissions(9);
        let mine = admissions.admit(&request("i", 1, "a", 1)).unwrap();
        let other = admissions.admit(&request("j", 1, "a", 1)).unwrap();
        admissions.observe(leader("i", 2)).unwrap();
        assert!(mine.abort.token.is_cancelled());
        assert!(!other.abort.token.is_cancelled());
        assert_eq!(
            reason(admissions.admit(&request("i", 1, "b", 1))),
            Reason::StaleEpoch
        );
        assert!(admissions.observe(leader("i", 1)).is_err());
        admissions.observe(leader("i", 2)).unwrap();
    }

    #[test]
    fn a_request_of_a_higher_epoch_aborts_lower_ones_like_the_leaders_announcement() {
        let admissions = admissions(9);
        let old = admissions.admit(&request("i", 1, "a", 1)).unwrap();
        admissions.admit(&request("i", 2, "b", 1)).unwrap();
        assert!(old.abort.token.is_cancelled());
    }

    #[test]
    fn a_newer_attempt_ends_the_older_even_when_it_finds_no_slot() {
        let admissions = admissions(1);
        let old = admissions.admit(&request("i", 1, "a", 1)).unwrap();
        assert_eq!(
            reason(admissions.admit(&request("i", 1, "a", 2))),
            Reason::Busy
        );
        assert!(old.abort.token.is_cancelled());
        drop(old);
        let new = admissions.admit(&request("i", 1, "a", 2)).unwrap();
        let late = admissions.admit(&request("i", 1, "a", 1));
        assert_eq!(reason(late), Reason::StaleEpoch);
        assert!(!new.abort.token.is_cancelled());
    }

    #[test]
    fn a_leader_of_a_higher_epoch_may_count_a_job_s_attempts_from_1_again() {
        let admissions = admissions(2);
        let old = admissions.admit(&request("i", 1, "a", 3)).unwrap();
        admissions.admit(&request("i", 2, "a", 1)).unwrap();
        assert!(old.abort.token.is_cancelled());
    }

    #[test]
    fn an_installation_with_a_running_job_is_not_forgotten() {
        let admissions = Admissions::new(Slots { jobs: 1, shards: 0 }, Duration::ZERO);
        let job = admissions.admit(&request("busy", 2, "a", 1)).unwrap();
        for number in 0..100 {
            admissions.observe(leader(&number.to_string(), 1)).unwrap();
        }
        assert!(admissions.observe(leader("busy", 1)).is_err());
        drop(job);
        for number in 0..100 {
            admissions.observe(leader(&number.to_string(), 1)).unwrap();
        }
        admissions.observe(leader("busy", 1)).unwrap();
    }

    #[test]
    fn shards_have_slots_of_their_own_and_one_attempt_at_a_time() {
        let admissions = admissions(1);
        let job = admissions.admit(&request("i", 1, "a", 1)).unwrap();
        let first = admissions.admit(&shard("a", 0, 1)).unwrap();
        assert_eq!(admissions.busy(), Slots { jobs: 1, shards: 1 });
        assert_eq!(reason(admissions.admit(&shard("a", 1, 2))), Reason::Busy);
        assert!(!first.abort.token.is_cancelled() && !job.abort.token.is_cancelled());
        assert_eq!(reason(admissions.admit(&shard("a", 0, 3))), Reason::Busy);
        assert!(first.abort.token.is_cancelled() && !job.abort.token.is_cancelled());
        drop(first);
        let newer = admissions.admit(&shard("a", 0, 3)).unwrap();
        let late = admissions.admit(&shard("a", 0, 1));
        assert_eq!(reason(late), Reason::StaleEpoch);
        admissions.observe(leader("i", 2)).unwrap();
        assert!(newer.abort.token.is_cancelled());
    }

    #[test]
    fn ranges_of_one_shard_run_beside_each_other_unless_they_have_a_picture_in_common() {
        let slots = Slots { jobs: 1, shards: 9 };
        let admissions = Admissions::new(slots, Duration::from_hours(1));
        let range = |attempt, from, to| ShardRequest {
            from,
            to,
            ..shard("a", 0, attempt)
        };
        let first = admissions.admit(&range(1, 0, Some(5))).unwrap();
        let second = admissions.admit(&range(2, 5, Some(9))).unwrap();
        let rest = admissions.admit(&range(3, 9, None)).unwrap();
        let is_aborted = |admission: &Admission| admission.abort.token.is_cancelled();
        assert!(![&first, &second, &rest].into_iter().any(is_aborted));
        assert_eq!(
            reason(admissions.admit(&range(1, 8, Some(9)))),
            Reason::StaleEpoch
        );
        let _newer = admissions.admit(&range(4, 8, None)).unwrap();
        assert!(!is_aborted(&first) && is_aborted(&second) && is_aborted(&rest));
    }
}
