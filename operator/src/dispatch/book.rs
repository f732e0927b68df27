//! The jobs as last seen, by uid, and when each is to be looked at again.

use crate::job::Tracked;
use fovea_crds::InferenceJob;
use futures::Stream;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::time::{DelayQueue, delay_queue};

/// No timer is set further ahead: after it the job is looked at by the clock of then, which may
/// have been set meanwhile.
const LONGEST_TIMER: Duration = Duration::from_mins(10);

/// All jobs.
#[derive(Default)]
pub(super) struct Book {
    jobs: HashMap<String, Tracked>,
    timers: DelayQueue<String>,
    timer_of: HashMap<String, delay_queue::Key>,
    /// While the watch lists anew: those that it has listed so far.
    relisted: Option<HashSet<String>>,
}

impl Book {
    /// A new list begins.
    pub(super) fn relist(&mut self) {
        self.relisted = Some(HashSet::new());
    }

    /// The list is complete; answers those that it no longer holds, and drops them.
    pub(super) fn relisted(&mut self) -> Vec<String> {
        let Some(seen) = self.relisted.take() else {
            return Vec::new();
        };
        let gone: Vec<String> = self
            .jobs
            .keys()
            .filter(|uid| !seen.contains(*uid))
            .cloned()
            .collect();
        for uid in &gone {
            self.remove(uid);
        }
        gone
    }

    /// The watch, or an own write, shows a job; false where something newer is known already.
    pub(super) fn see(&mut self, uid: &str, job: InferenceJob) -> bool {
        if let Some(seen) = &mut self.relisted {
            seen.insert(uid.to_owned());
        }
        let job = Tracked::of(job);
        if self
            .jobs
            .get(uid)
            .is_some_and(|known| job.is_older_than(known))
        {
            return false;
        }
        self.jobs.insert(uid.to_owned(), job);
        true
    }

    /// The job as last seen.
    pub(super) fn get(&self, uid: &str) -> Option<&Tracked> {
        self.jobs.get(uid)
    }

    /// Forgets a job.
    pub(super) fn remove(&mut self, uid: &str) {
        self.jobs.remove(uid);
        self.clear_timer(uid);
    }

    /// Forgets a job that an own task found outdated, unless its end is known by now.
    pub(super) fn remove_unfinished(&mut self, uid: &str) {
        if matches!(self.jobs.get(uid), Some(Tracked::Unfinished(_))) {
            self.remove(uid);
        }
    }

    /// How many have not ended, and how many have.
    pub(super) fn count(&self) -> (usize, usize) {
        let unfinished = |job: &&Tracked| matches!(job, Tracked::Unfinished(_));
        let unfinished = self.jobs.values().filter(unfinished).count();
        (unfinished, self.jobs.len() - unfinished)
    }

    /// All.
    pub(super) fn uids(&self) -> Vec<String> {
        self.jobs.keys().cloned().collect()
    }

    /// All that have not ended.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let unfinished = self
            .jobs
            .iter()
            .filter(|(_, job)| matches!(job, Tracked::Unfinished(_)));
        unfinished.map(|(uid, _)| uid.clone()).collect()
    }

    /// Look at the job at `at`, and not before.
    pub(super) fn wake_at(&mut self, uid: &str, at: Timestamp) {
        let wait = Duration::try_from(at.duration_since(Timestamp::now()))
            .unwrap_or_default()
            .min(LONGEST_TIMER);
        if let Some(key) = self.timer_of.get(uid) {
            self.timers.reset(key, wait);
        } else {
            let key = self.timers.insert(uid.to_owned(), wait);
            self.timer_of.insert(uid.to_owned(), key);
        }
    }

    /// No timer for this job.
    pub(super) fn clear_timer(&mut self, uid: &str) {
        if let Some(key) = self.timer_of.remove(uid) {
            self.timers.remove(&key);
        }
    }

    /// The next job whose time has come; pending for ever where no timer is set.
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
