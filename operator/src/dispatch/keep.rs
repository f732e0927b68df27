//! Results that are too large for a status, on their way to the bucket. Each is kept in memory, off its
//! runner, and put again until the object store takes it: an outage of the store does not run the job
//! again. They go with the leader; the next one runs their jobs again.

use super::Dispatcher;
use super::attempt::{Abort, succeed};
use super::large::{LargeResult, Unstored};
use crate::job::Tracked;
use crate::job::decide::Ending;
use crate::job::retry::{self, KeepFor, RESULT_NOT_STORED};
use crate::job::status;
use crate::job::write::{StatusWriter, Written};
use crate::kill_points;
use crate::metrics::{Metrics, ResultPut};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use fovea_crds::{Failure, InferenceJob, InferenceJobStatus};
use fovea_store::{Store, StoreError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Bound on kept results. Beyond it, or beyond [`MAX_KEPT_BYTES`], the job runs again later.
const MAX_KEPT: usize = 1000;

/// Bound on the bytes of all kept results.
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;

/// Longest wait between two puts of one result, without the jitter, which at most doubles it.
const GREATEST_WAIT: Duration = Duration::from_secs(30);

/// Waits between the puts of one result.
const WAITS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(GREATEST_WAIT)
    .with_jitter()
    .without_max_times();

/// Room for kept results.
pub(super) struct Room {
    results: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// A result's share of the room, until it is dropped.
struct Place {
    _result: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            results: Arc::new(Semaphore::new(MAX_KEPT)),
            bytes: Arc::new(Semaphore::new(MAX_KEPT_BYTES)),
        }
    }
}

impl Room {
    /// A place for a result of so many bytes; `None` if there is no room.
    fn take(&self, bytes: usize) -> Option<Place> {
        let bytes = u32::try_from(bytes).ok()?;
        Some(Place {
            _result: Arc::clone(&self.results).try_acquire_owned().ok()?,
            _bytes: Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()?,
        })
    }

    pub(super) fn taken(&self) -> usize {
        MAX_KEPT - self.results.available_permits()
    }
}

impl Dispatcher {
    /// Keeps a result until the store takes it, and then ends its job.
    pub(super) fn keep(&mut self, uid: &str, namespace: String, result: Unstored) {
        if !matches!(self.book.get(uid), Some(Tracked::Unfinished(_))) {
            self.retention.stopped(uid);
            return; // Gone or ended while the attempt's end was on its way.
        }
        let Some(place) = self.kept.take(result.large.json.len()) else {
            return self.run_later(uid, &result);
        };
        let keeping = Keeping {
            writer: self.writer.clone(),
            store: self.parts.store.clone(),
            metrics: Arc::clone(&self.parts.metrics),
            keep_for: KeepFor::of(self.parts.max_result_refused, &result.job.spec),
            result,
        };
        let (abort, aborted) = oneshot::channel();
        let storing = async move {
            let job = Box::pin(keeping.run(aborted)).await;
            drop(place);
            job
        };
        self.start_write(uid.to_owned(), namespace, Some(abort), storing);
        // It may have been cancelled meanwhile; else this sets the timer for its active deadline.
        self.reconcile(uid);
    }

    /// Drops a result for which there is no room; its job runs again.
    fn run_later(&mut self, uid: &str, result: &Unstored) {
        let Unstored { job, begun, .. } = result;
        let now = crate::time::now();
        let age = Duration::try_from(now.duration_since(job.created())).unwrap_or_default();
        let failure = Failure {
            reason: RESULT_NOT_STORED.to_owned(),
            message: format!(
                "the object store takes no results, and the {} that wait for it leave no room for this one: the job runs again",
                self.kept.taken()
            ),
            retryable: true,
        };
        let nothing = InferenceJobStatus::default();
        let before = job.status.as_ref().unwrap_or(&nothing);
        let next = retry::store_down(failure, before, &job.spec, age, rand::random());
        let metrics = &self.parts.metrics;
        metrics.result_put(ResultPut::NoRoom);
        metrics.attempt(
            if next.is_ok() { "retried" } else { "failed" },
            RESULT_NOT_STORED,
        );
        let begun = begun.clone();
        self.write(uid, job, move |job| match &next {
            Ok(next) => status::waiting(job, &begun, next, now),
            Err(failure) => {
                let ending = Ending::Failed(failure.clone());
                status::ended(job, Some(&begun), &ending, now)
            }
        });
    }
}

/// The task that stores one result.
struct Keeping {
    writer: StatusWriter,
    store: Store,
    metrics: Arc<Metrics>,
    keep_for: KeepFor,
    result: Unstored,
}

impl Keeping {
    async fn run(self, mut abort: oneshot::Receiver<Abort>) -> Written {
        let mut job = self.result.job.clone();
        let mut waits = WAITS.build();
        let kept_since = Instant::now();
        let mut refused_since = None;
        // Whether the error that the job's condition shows is a refusal.
        let mut shown = None;
        loop {
            let tried = tokio::select! {
                biased;
                reason = &mut abort => return self.aborted(job, reason.ok()).await,
                tried = self.put() => tried,
            };
            let Err(error) = tried else {
                return self.stored(job).await;
            };
            let refused = error.is_refusal();
            refused_since = refused.then(|| refused_since.unwrap_or_else(Instant::now));
            let refused_for = refused_since.as_ref().map(Instant::elapsed);
            let why = error.to_string();
            if let Some(failure) = self.keep_for.over(refused_for, kept_since.elapsed(), &why) {
                self.metrics.attempt("failed", RESULT_NOT_STORED);
                return self.end(job, &Ending::Failed(failure)).await;
            }
            // Not at each try: its text may differ from try to try.
            if shown != Some(refused) {
                shown = Some(refused);
                match self.show(job.clone(), &why).await {
                    Written::Current(written) if !written.is_finished() => job = *written,
                    Written::Unchanged => {}
                    ended => return ended,
                }
            }
            tokio::select! {
                biased;
                reason = &mut abort => return self.aborted(job, reason.ok()).await,
                () = tokio::time::sleep(waits.next().unwrap_or(GREATEST_WAIT)) => {}
            }
        }
    }

    async fn put(&self) -> Result<(), StoreError> {
        let LargeResult { key, json, .. } = &self.result.large;
        let put = self.store.put(key, json.clone(), "application/json").await;
        self.metrics.result_put(match &put {
            Ok(()) => ResultPut::Stored,
            Err(error) if error.is_refusal() => ResultPut::Refused,
            Err(_) => ResultPut::Failed,
        });
        put
    }

    async fn stored(&self, job: InferenceJob) -> Written {
        kill_points::after(kill_points::RESULT_STORED);
        self.metrics.attempt("succeeded", "none");
        let Unstored {
            begun,
            success,
            large,
            ..
        } = &self.result;
        let stored = Some(large.summary.clone());
        succeed(&self.writer, &self.metrics, job, begun, success, stored).await
    }

    async fn aborted(&self, job: InferenceJob, reason: Option<Abort>) -> Written {
        match reason {
            Some(Abort::End(ending)) => {
                self.metrics.attempt("aborted", ending.reason());
                self.end(job, &ending).await
            }
            Some(Abort::Drop) | None => {
                self.metrics.attempt("aborted", "JobGone");
                Written::Unchanged
            }
        }
    }

    async fn end(&self, job: InferenceJob, ending: &Ending) -> Written {
        let begun = Some(&self.result.begun);
        let make = |job: &InferenceJob| status::ended(job, begun, ending, crate::time::now());
        self.writer.write(job, make).await
    }

    /// Writes why the job has no result yet.
    async fn show(&self, job: InferenceJob, why: &str) -> Written {
        let Unstored { begun, large, .. } = &self.result;
        let LargeResult { key, summary, .. } = large;
        tracing::warn!(job = job.metadata.name, namespace = job.metadata.namespace, %key, error = why, "a result is kept, because it cannot be stored");
        let message = format!(
            "the result of {} bytes is kept and put again until the object store takes it: {why}",
            summary.bytes
        );
        let make = |job: &InferenceJob| status::unstored(job, begun, &message, crate::time::now());
        self.writer.write(job, make).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_results_are_bounded_in_number_and_in_bytes() {
        let room = Room::default();
        let half = MAX_KEPT_BYTES / 2;
        let first = room.take(half).unwrap();
        let _second = room.take(half).unwrap();
        assert!(room.take(1).is_none());
        drop(first);
        let small: Vec<_> = std::iter::from_fn(|| room.take(1)).collect();
        assert_eq!(small.len() + 1, MAX_KEPT);
        assert_eq!(room.taken(), MAX_KEPT);
    }
}
