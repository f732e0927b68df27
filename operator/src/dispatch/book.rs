//! The cache of jobs, by uid, and when each is reconciled again.

use super::relist::Relist;
use crate::job::{Tracked, reduced};
use crate::time::later;
use fovea_crds::InferenceJob;
use futures::Stream;
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::time::{DelayQueue, delay_queue};

/// Upper bound on a timer. After it the job is reconciled by the clock of that time, which may have
/// been adjusted.
const LONGEST_TIMER: Duration = Duration::from_mins(10);

#[derive(Default)]
pub(super) struct Book {
    jobs: HashMap<String, Tracked>,
    reduced: HashSet<String>,
    /// The unfinished jobs of each namespace that has any.
    unfinished_in: HashMap<String, HashSet<String>>,
    timers: DelayQueue<String>,
    timer_of: HashMap<String, delay_queue::Key>,
    /// By uid.
    relisted: Relist<String>,
    /// The cluster was restored from an older snapshot: until everything is listed, cached versions may be of
    /// a future that is lost.
    is_set_back: bool,
}

impl Book {
    pub(super) fn relist(&mut self) {
        self.relisted.begin();
    }

    /// Ends the list: drops and returns the jobs that it no longer holds.
    pub(super) fn relisted(&mut self) -> Vec<String> {
        self.is_set_back = false;
        let gone = self.relisted.end(self.jobs.keys());
        for uid in &gone {
            self.remove(uid);
        }
        gone
    }

    /// The cluster was restored from an older snapshot: what is listed next counts, whatever its version.
    pub(super) fn set_back(&mut self) {
        self.is_set_back = true;
    }

    /// Caches a job from the watch or from an own write; false where a newer one is cached already.
    pub(super) fn observe(&mut self, uid: &str, job: InferenceJob) -> bool {
        self.relisted.see(uid);
        let job = Tracked::of(job);
        let known = self.jobs.get(uid);
        if !self.is_set_back && known.is_some_and(|known| job.is_older_than(known)) {
            return false;
        }
        self.unlist(uid);
        if let Tracked::Unfinished(job) = &job {
            let namespace = job.metadata.namespace.clone().unwrap_or_default();
            let jobs = self.unfinished_in.entry(namespace).or_default();
            jobs.insert(uid.to_owned());
        }
        self.jobs.insert(uid.to_owned(), job);
        self.reduced.remove(uid);
        true
    }

    /// Keeps only what a job needs that waits for room in its namespace.
    pub(super) fn reduce(&mut self, uid: &str) {
        if let Some(Tracked::Unfinished(job)) = self.jobs.get_mut(uid) {
            *job = Arc::new(reduced(job));
            self.reduced.insert(uid.to_owned());
        }
    }

    /// Whether the job was reduced, and has not been observed since: it must not run before it is read again.
    pub(super) fn is_reduced(&self, uid: &str) -> bool {
        self.reduced.contains(uid)
    }

    pub(super) fn get(&self, uid: &str) -> Option<&Tracked> {
        self.jobs.get(uid)
    }

    pub(super) fn remove(&mut self, uid: &str) {
        self.unlist(uid);
        self.jobs.remove(uid);
        self.reduced.remove(uid);
        self.clear_timer(uid);
    }

    /// Removes a job from those of its namespace.
    fn unlist(&mut self, uid: &str) {
        let Some(Tracked::Unfinished(job)) = self.jobs.get(uid) else {
            return;
        };
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(jobs) = self.unfinished_in.get_mut(namespace) {
            jobs.remove(uid);
            if jobs.is_empty() {
                self.unfinished_in.remove(namespace);
            }
        }
    }

    /// The number of unfinished jobs, and of finished ones.
    pub(super) fn count(&self) -> (usize, usize) {
        let unfinished = self.unfinished_in.values().map(HashSet::len).sum();
        (unfinished, self.jobs.len() - unfinished)
    }

    pub(super) fn uids(&self) -> Vec<String> {
        self.jobs.keys().cloned().collect()
    }

    pub(super) fn unfinished(&self) -> Vec<String> {
        self.unfinished_in.values().flatten().cloned().collect()
    }

    pub(super) fn unfinished_in(&self, namespace: &str) -> Vec<String> {
        let jobs = self.unfinished_in.get(namespace);
        jobs.into_iter().flatten().cloned().collect()
    }

    /// The number of namespaces with unfinished jobs.
    pub(super) fn namespaces(&self) -> usize {
        self.unfinished_in.len()
    }

    /// Sets the time at which the job is reconciled again.
    pub(super) fn wake_at(&mut self, uid: &str, at: Timestamp) {
        let wait = Duration::try_from(at.duration_since(crate::time::now()))
            .unwrap_or_default()
            .min(LONGEST_TIMER);
        if let Some(key) = self.timer_of.get(uid) {
            self.timers.reset(key, wait);
        } else {
            let key = self.timers.insert(uid.to_owned(), wait);
            self.timer_of.insert(uid.to_owned(), key);
        }
    }

    pub(super) fn wake_after(&mut self, uid: &str, wait: SignedDuration) {
        self.wake_at(uid, later(crate::time::now(), wait));
    }

    /// As [`Self::wake_after`], unless the job is reconciled earlier anyway.
    pub(super) fn wake_within(&mut self, uid: &str, wait: SignedDuration) {
        let by = Duration::try_from(wait).unwrap_or_default();
        let earlier = self
            .timer_of
            .get(uid)
            .is_some_and(|key| self.timers.deadline(key) <= tokio::time::Instant::now() + by);
        if !earlier {
            self.wake_after(uid, wait);
        }
    }

    pub(super) fn clear_timer(&mut self, uid: &str) {
        if let Some(key) = self.timer_of.remove(uid) {
            self.timers.remove(&key);
        }
    }

    /// Waits for the next job whose timer has fired; forever where none is set.
    pub(super) async fn woken(&mut self) -> String {
        std::future::poll_fn(|context| self.poll_woken(context)).await
    }

    fn poll_woken(&mut self, context: &mut Context<'_>) -> Poll<String> {
        match Pin::new(&mut self.timers).poll_next(context) {
            Poll::Ready(Some(expired)) => {
                let uid = expired.into_inner();
                self.timer_of.remove(&uid);
                Poll::Ready(uid)
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::job;
    use fovea_crds::{InferenceJobStatus, Phase};

    fn version(number: u32, phase: Phase) -> InferenceJob {
        let mut job = job();
        job.metadata.resource_version = Some(number.to_string());
        job.status = Some(InferenceJobStatus {
            phase,
            ..InferenceJobStatus::default()
        });
        job
    }

    fn is_finished(book: &Book) -> bool {
        matches!(book.get("u"), Some(Tracked::Finished(_)))
    }

    #[tokio::test]
    async fn an_own_write_is_not_undone_by_an_older_list() {
        let mut book = Book::default();
        book.observe("u", version(7, Phase::Succeeded));
        book.relist();
        assert!(!book.observe("u", version(5, Phase::Pending)));
        assert!(book.relisted().is_empty());
        assert!(is_finished(&book));
    }

    #[tokio::test]
    async fn after_a_restore_the_list_counts_and_then_versions_again() {
        let mut book = Book::default();
        book.observe("u", version(7, Phase::Succeeded));
        book.observe("lost", version(6, Phase::Pending));
        book.set_back();
        book.relist();
        assert!(book.observe("u", version(3, Phase::Pending)));
        assert_eq!(book.relisted(), ["lost"]);
        assert!(!is_finished(&book));
        assert!(!book.observe("u", version(2, Phase::Failed)));
        assert!(book.observe("u", version(4, Phase::Failed)));
        assert!(is_finished(&book));
    }

    #[tokio::test]
    async fn an_earlier_timer_stays() {
        let mut book = Book::default();
        let millis = SignedDuration::from_millis;
        book.wake_after("early", millis(10));
        book.wake_after("late", millis(300_000));
        book.wake_within("none", millis(30));
        book.wake_within("early", millis(60));
        book.wake_within("late", millis(90));
        for uid in ["early", "none", "late"] {
            assert_eq!(book.woken().await, uid);
        }
    }

    fn of(namespace: &str, phase: Phase) -> InferenceJob {
        let mut job = version(1, phase);
        job.metadata.namespace = Some(namespace.to_owned());
        job
    }

    #[tokio::test]
    async fn a_namespace_is_forgotten_with_its_last_unfinished_job() {
        let mut book = Book::default();
        for number in 0..1000 {
            let namespace = format!("team-{number}");
            book.observe(&format!("a-{number}"), of(&namespace, Phase::Pending));
            book.observe(&format!("b-{number}"), of(&namespace, Phase::Running));
        }
        let mut of_one = book.unfinished_in("team-7");
        of_one.sort();
        assert_eq!(of_one, ["a-7", "b-7"]);
        assert!(book.unfinished_in("team-1000").is_empty());
        assert_eq!((book.namespaces(), book.unfinished().len()), (1000, 2000));
        book.observe("b-7", of("team-7", Phase::Failed));
        assert_eq!(book.unfinished_in("team-7"), ["a-7"]);
        assert_eq!(book.count(), (1999, 1));
        // The rest was deleted while the watch was down.
        book.relist();
        book.observe("a-7", of("team-7", Phase::Pending));
        assert_eq!(book.relisted().len(), 1999);
        assert_eq!((book.namespaces(), book.count()), (1, (1, 0)));
        book.remove("a-7");
        assert_eq!((book.namespaces(), book.count()), (0, (0, 0)));
    }
}
