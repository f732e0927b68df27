//! Shared reads of single jobs from the API server: when a job ends, a thousand clients may read it
//! at once, which costs the API server one or two requests.

use super::cache::JobKey;
use crate::error::{Problem, ProblemType};
use crate::metrics::Metrics;
use crate::shares::{Parties, Shares};
use fovea_crds::InferenceJob;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Concurrent reads of different jobs; each takes a connection.
const MAX_READS: usize = 64;

type Outcome = Result<Arc<InferenceJob>, Problem>;

#[derive(Debug)]
pub(super) struct Reads {
    permits: Shares,
    /// Longest wait for a permit.
    patience: Duration,
    readers: Mutex<HashMap<JobKey, Arc<Readers>>>,
}

/// Concurrent readers of one job.
#[derive(Debug, Default)]
struct Readers {
    /// Number of readers that have begun, ended ones included.
    count: AtomicU64,
    /// The latest read. One reader holds the lock while it reads; the others wait in order.
    latest: tokio::sync::Mutex<Option<Read>>,
}

#[derive(Debug)]
struct Read {
    /// Number of readers when it began.
    count: u64,
    outcome: Outcome,
}

impl Reads {
    pub(super) fn new(patience: Duration, metrics: &Metrics) -> Self {
        Self {
            permits: Shares::new("reads", MAX_READS, metrics),
            patience,
            readers: Mutex::default(),
        }
    }

    /// The outcome of a read that began after this call: of `read`, or of another reader's. No caller
    /// gets a version from before its call. A read of its own draws on the share of `parties`.
    pub(super) async fn share(
        &self,
        key: JobKey,
        parties: Parties,
        read: impl AsyncFnOnce() -> Outcome,
    ) -> Outcome {
        // Declared first, so that it is dropped last.
        let reader = Reader { reads: self, key };
        let readers = Arc::clone(self.lock().entry(reader.key.clone()).or_default());
        let number = readers.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut latest = readers.latest.lock().await;
        if let Some(latest) = latest.as_ref().filter(|latest| latest.count >= number) {
            return latest.outcome.clone();
        }
        let permit = self.permits.acquire(parties, self.patience).await;
        let _permit = permit
            .map_err(|refused| refused.problem(ProblemType::ClusterUnavailable, "reads", 2))?;
        let count = readers.count.load(Ordering::Relaxed);
        // Boxed, so that waiting readers do not reserve its memory.
        let outcome = Box::pin(read()).await;
        *latest = Some(Read {
            count,
            outcome: outcome.clone(),
        });
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobKey, Arc<Readers>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader. The last one of a job removes the job's entry when it is dropped.
struct Reader<'a> {
    reads: &'a Reads,
    key: JobKey,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut readers = self.reads.lock();
        let all = readers.get(&self.key);
        // Only the map's own reference is left, and new readers need the lock.
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

    fn reads() -> Reads {
        Reads::new(Duration::from_mins(1), &Metrics::new())
    }

    const NOBODY: Parties = Parties::NONE;

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
    async fn requests_during_a_read_share_the_next_read() {
        let reads = reads();
        let (begun, open) = (Cell::new(0), Notify::new());
        let read = async || {
            begun.set(begun.get() + 1);
            let version = begun.get();
            open.notified().await;
            Ok(job(version))
        };
        let mut first = pin!(reads.share(key(), NOBODY, read));
        assert!(first.as_mut().now_or_never().is_none());
        let mut others = pin!(join_all((0..100).map(|_| reads.share(key(), NOBODY, read))));
        assert!(others.as_mut().now_or_never().is_none());
        assert_eq!(begun.get(), 1);

        open.notify_one();
        assert_eq!(version(&first.await), "1");
        assert!(others.as_mut().now_or_never().is_none());
        open.notify_one();
        let outcomes = others.await;
        assert!(outcomes.iter().all(|outcome| version(outcome) == "2"));
        assert_eq!((begun.get(), reads.lock().len()), (2, 0));
    }

    #[tokio::test]
    async fn a_read_aborted_by_its_client_is_repeated_by_the_next_reader() {
        let reads = reads();
        let mut second = {
            let aborted = reads.share(key(), NOBODY, async || std::future::pending().await);
            let mut aborted = Box::pin(aborted);
            assert!(aborted.as_mut().now_or_never().is_none());
            let second = reads.share(key(), NOBODY, async || Ok(job(7)));
            let mut second = Box::pin(second);
            assert!(second.as_mut().now_or_never().is_none());
            second
        };
        let outcome = second.as_mut().now_or_never();
        assert_eq!(version(&outcome.unwrap()), "7");
        drop(second);
        assert!(reads.lock().is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn concurrent_readers_leave_no_entry() {
        let reads = Arc::new(reads());
        for _ in 0..2000 {
            let all = (0..8).map(|_| {
                let reads = Arc::clone(&reads);
                tokio::spawn(async move {
                    reads
                        .share(key(), NOBODY, async || Ok(job(1)))
                        .await
                        .is_ok()
                })
            });
            assert!(join_all(all).await.into_iter().all(|ok| ok.unwrap()));
            assert!(reads.lock().is_empty());
        }
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_not_remembered() {
        let reads = reads();
        let none = async || Err(Problem::no_such_job());
        let outcomes = join_all((0..3).map(|_| reads.share(key(), NOBODY, none))).await;
        assert!(outcomes.iter().all(Result::is_err));
        let again = reads.share(key(), NOBODY, async || Ok(job(1))).await;
        assert_eq!(version(&again), "1");
    }

    #[tokio::test]
    async fn reads_of_different_jobs_are_bounded() {
        let reads = reads();
        let (under_way, most) = (Cell::new(0_usize), Cell::new(0));
        let read = async || {
            under_way.set(under_way.get() + 1);
            most.set(most.get().max(under_way.get()));
            tokio::task::yield_now().await;
            under_way.set(under_way.get() - 1);
            Ok(job(1))
        };
        let keys = (0..3 * MAX_READS).map(|n| JobKey::new("ns", &n.to_string()));
        let outcomes = join_all(keys.map(|key| reads.share(key, NOBODY, read))).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!((most.get(), under_way.get()), (MAX_READS, 0));
    }
}
