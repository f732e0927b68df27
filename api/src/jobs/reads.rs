//! Reads of single jobs from the API server, shared: when a job ends, a thousand clients may ask for
//! it in the same moment, and the API server is asked once or twice.

use super::cache::JobKey;
use crate::error::Problem;
use fovea_crds::InferenceJob;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Reads under way at a time: each takes a connection of its own.
const MAX_READS: usize = 64;

/// What a read has told.
type Outcome = Result<Arc<InferenceJob>, Problem>;

/// Those who read, by what they read.
#[derive(Debug)]
pub(super) struct Reads {
    /// For reads of different jobs.
    room: Semaphore,
    readers: Mutex<HashMap<JobKey, Arc<Readers>>>,
}

/// All who ask for one job at a time.
#[derive(Debug, Default)]
struct Readers {
    /// Counts them.
    asked: AtomicU64,
    /// One reads while the others wait here, in the order in which they came.
    turn: tokio::sync::Mutex<Option<Read>>,
}

/// The latest read.
#[derive(Debug)]
struct Read {
    /// How many had asked when it began.
    asked: u64,
    outcome: Outcome,
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            room: Semaphore::new(MAX_READS),
            readers: Mutex::default(),
        }
    }
}

impl Reads {
    /// What a read of the job tells that begins now or later, so that nobody is told what was
    /// before he asked: this one's `read`, or that of another who waited for his turn as well.
    pub(super) async fn share(&self, key: JobKey, read: impl AsyncFnOnce() -> Outcome) -> Outcome {
        // Dropped after all that is made below.
        let reader = Reader { reads: self, key };
        let readers = reader.enter();
        let number = readers.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut latest = readers.turn.lock().await;
        if let Some(latest) = latest.as_ref().filter(|latest| latest.asked >= number) {
            return latest.outcome.clone();
        }
        let _room = self.room.acquire().await;
        let asked = readers.asked.load(Ordering::Relaxed);
        // Its memory is taken by the one who reads, not by all who wait.
        let outcome = Box::pin(read()).await;
        *latest = Some(Read {
            asked,
            outcome: outcome.clone(),
        });
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobKey, Arc<Readers>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who reads; nothing is left of the last one of a job when it is dropped.
struct Reader<'a> {
    reads: &'a Reads,
    key: JobKey,
}

impl Reader<'_> {
    /// Joins the others.
    fn enter(&self) -> Arc<Readers> {
        let mut readers = self.reads.lock();
        Arc::clone(readers.entry(self.key.clone()).or_default())
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut readers = self.reads.lock();
        let all = readers.get(&self.key);
        // The map's own: whoever enters needs the lock.
        if all.is_some_and(|all| Arc::strong_count(all) == 1) {
            readers.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::{InferenceJobSpec, Input, Task};
    use futures::FutureExt as _;
    use futures::future::join_all;
    use std::cell::Cell;
    use std::pin::pin;
    use tokio::sync::Notify;

    fn key() -> JobKey {
        JobKey::new("ns", "a")
    }

    fn job(version: usize) -> Arc<InferenceJob> {
        let spec = InferenceJobSpec::new(Task::ImageToText, Input::Object { key: "a".into() });
        let mut job = InferenceJob::new("a", spec);
        job.metadata.resource_version = Some(version.to_string());
        Arc::new(job)
    }

    fn version(outcome: &Outcome) -> &str {
        let job = outcome.as_ref().unwrap();
        job.metadata.resource_version.as_deref().unwrap()
    }

    #[tokio::test]
    async fn who_comes_while_one_reads_shares_the_next_read_with_all_who_came_meanwhile() {
        let reads = Reads::default();
        let (begun, open) = (Cell::new(0), Notify::new());
        let read = async || {
            begun.set(begun.get() + 1);
            let version = begun.get();
            open.notified().await;
            Ok(job(version))
        };
        let mut first = pin!(reads.share(key(), read));
        assert!(first.as_mut().now_or_never().is_none());
        let mut others = pin!(join_all((0..100).map(|_| reads.share(key(), read))));
        assert!(others.as_mut().now_or_never().is_none());
        assert_eq!(begun.get(), 1);

        open.notify_one();
        assert_eq!(version(&first.await), "1");
        assert!(others.as_mut().now_or_never().is_none());
        open.notify_one();
        let told = others.await;
        assert!(told.iter().all(|outcome| version(outcome) == "2"));
        assert_eq!((begun.get(), reads.lock().len()), (2, 0));
    }

    #[tokio::test]
    async fn one_who_leaves_amid_his_read_leaves_it_to_the_next() {
        let reads = Reads::default();
        let mut second = {
            let left = reads.share(key(), async || std::future::pending().await);
            let mut left = Box::pin(left);
            assert!(left.as_mut().now_or_never().is_none());
            let second = reads.share(key(), async || Ok(job(7)));
            let mut second = Box::pin(second);
            assert!(second.as_mut().now_or_never().is_none());
            second
        };
        let told = second.as_mut().now_or_never();
        assert_eq!(version(&told.unwrap()), "7");
        drop(second);
        assert!(reads.lock().is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_is_left_of_those_who_leave_at_once() {
        let reads = Arc::new(Reads::default());
        for _ in 0..2000 {
            let all = (0..8).map(|_| {
                let reads = Arc::clone(&reads);
                tokio::spawn(async move { reads.share(key(), async || Ok(job(1))).await.is_ok() })
            });
            assert!(join_all(all).await.into_iter().all(|ok| ok.unwrap()));
            assert!(reads.lock().is_empty());
        }
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_not_remembered() {
        let reads = Reads::default();
        let none = async || Err(Problem::no_such_job());
        let told = join_all((0..3).map(|_| reads.share(key(), none))).await;
        assert!(told.iter().all(Result::is_err));
        let again = reads.share(key(), async || Ok(job(1))).await;
        assert_eq!(version(&again), "1");
    }

    #[tokio::test]
    async fn reads_of_different_jobs_are_bounded() {
        let reads = Reads::default();
        let (under_way, most) = (Cell::new(0_usize), Cell::new(0));
        let read = async || {
            under_way.set(under_way.get() + 1);
            most.set(most.get().max(under_way.get()));
            tokio::task::yield_now().await;
            under_way.set(under_way.get() - 1);
            Ok(job(1))
        };
        let keys = (0..3 * MAX_READS).map(|n| JobKey::new("ns", &n.to_string()));
        let told = join_all(keys.map(|key| reads.share(key, read))).await;
        assert!(told.iter().all(Result::is_ok));
        assert_eq!((most.get(), under_way.get()), (MAX_READS, 0));
    }
}
