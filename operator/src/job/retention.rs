//! Which finished jobs to delete: those that have expired, and those that exceed a limit. Pure.

use super::Finished;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Flags and environment of the retention of finished jobs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Finished jobs")]
pub struct RetentionConfig {
    /// Maximum number of finished jobs in the cluster. Beyond it the operator deletes the oldest
    /// before their ttlSecondsAfterFinished, those created through the API first. Jobs with an
    /// undelivered callback do not count.
    #[arg(long, env = "FOVEA_OPERATOR_MAX_FINISHED_JOBS")]
    #[arg(default_value_t = 10_000)]
    pub max_finished_jobs: usize,
    /// Maximum number of finished jobs per namespace; the same rules as for --max-finished-jobs
    /// apply.
    #[arg(long, env = "FOVEA_OPERATOR_MAX_FINISHED_JOBS_PER_NAMESPACE")]
    #[arg(default_value_t = 2_000)]
    pub max_finished_jobs_per_namespace: usize,
    /// Maximum rate at which finished jobs are deleted, in jobs per second. It limits the load on
    /// the API server after many jobs expire at once.
    #[arg(long, env = "FOVEA_OPERATOR_DELETIONS_PER_SECOND")]
    #[arg(default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub deletions_per_second: u32,
}

/// A finished job's place in the order of deletion: the lowest goes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// What a user has applied is kept longer than what the API made.
    applied_by_user: bool,
    ended: Timestamp,
    uid: Arc<str>,
}

/// The finished jobs, in the order of their deletion.
#[derive(Debug)]
pub(crate) struct Retention {
    config: RetentionConfig,
    all: BTreeSet<Place>,
    by_namespace: HashMap<Box<str>, BTreeSet<Place>>,
    places: HashMap<Arc<str>, (Box<str>, Place)>,
    /// Jobs whose `ttlSecondsAfterFinished` is over.
    expired: BTreeSet<Arc<str>>,
    /// Namespaces with more jobs than their limit.
    crowded: BTreeSet<Box<str>>,
}

impl Retention {
    pub(crate) fn new(config: RetentionConfig) -> Self {
        Self {
            config,
            all: BTreeSet::new(),
            by_namespace: HashMap::new(),
            places: HashMap::new(),
            expired: BTreeSet::new(),
            crowded: BTreeSet::new(),
        }
    }

    /// Adds a finished job whose callback, if any, is settled. It is not expired until [`expire`] marks
    /// it again: its `ttlSecondsAfterFinished` may have been raised meanwhile.
    ///
    /// [`expire`]: Self::expire
    pub(crate) fn keep(&mut self, uid: &str, job: &Finished) {
        self.expired.remove(uid);
        if self.places.contains_key(uid) {
            return;
        }
        let uid: Arc<str> = uid.into();
        let place = Place {
            applied_by_user: !job.made_by_api,
            ended: job.ended,
            uid: Arc::clone(&uid),
        };
        self.all.insert(place.clone());
        let namespace = job.namespace.clone();
        let own = self.by_namespace.entry(namespace.clone()).or_default();
        own.insert(place.clone());
        if own.len() > self.config.max_finished_jobs_per_namespace {
            self.crowded.insert(namespace.clone());
        }
        self.places.insert(uid, (namespace, place));
    }

    pub(crate) fn expire(&mut self, uid: &str) {
        self.expired.insert(uid.into());
    }

    /// Removes a job that is deleted, or about to be.
    pub(crate) fn forget(&mut self, uid: &str) {
        self.expired.remove(uid);
        let Some((namespace, place)) = self.places.remove(uid) else {
            return;
        };
        self.all.remove(&place);
        if let Some(own) = self.by_namespace.get_mut(&namespace) {
            own.remove(&place);
            if own.len() <= self.config.max_finished_jobs_per_namespace {
                self.crowded.remove(&namespace);
            }
            if own.is_empty() {
                self.by_namespace.remove(&namespace);
            }
        }
    }

    /// Whether some job is to be deleted.
    pub(crate) fn is_due(&self) -> bool {
        !self.expired.is_empty()
            || !self.crowded.is_empty()
            || self.all.len() > self.config.max_finished_jobs
    }

    pub(crate) fn take(&mut self) -> Option<Arc<str>> {
        let crowded = || {
            let own = self.by_namespace.get(self.crowded.first()?)?;
            own.first()
        };
        let too_many = || {
            self.all
                .first()
                .filter(|_| self.all.len() > self.config.max_finished_jobs)
        };
        let expired = self.expired.first().cloned();
        let next = expired.or_else(|| {
            let place = crowded().or_else(too_many)?;
            Some(Arc::clone(&place.uid))
        })?;
        self.forget(&next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn retention(total: usize, per_namespace: usize) -> Retention {
        Retention::new(RetentionConfig {
            max_finished_jobs: total,
            max_finished_jobs_per_namespace: per_namespace,
            deletions_per_second: 50,
        })
    }

    fn job(namespace: &str, ended: i64, made_by_api: bool) -> Finished {
        Finished {
            namespace: namespace.into(),
            name: "job".into(),
            resource_version: "1".into(),
            ended: Timestamp::from_second(ended).unwrap(),
            ttl_seconds: None,
            made_by_api,
            callback: None,
        }
    }

    fn drain(retention: &mut Retention) -> Vec<String> {
        std::iter::from_fn(|| Some(retention.take()?.to_string())).collect()
    }

    #[test]
    fn within_the_bounds_only_expired_jobs_are_deleted() {
        let mut kept = retention(3, 2);
        kept.keep("old", &job("a", 1, true));
        kept.keep("new", &job("a", 9, true));
        assert!(!kept.is_due());
        kept.expire("new");
        assert_eq!(drain(&mut kept), ["new"]);
        assert!(!kept.is_due());
    }

    #[test]
    fn a_job_that_is_given_more_time_before_its_turn_stays() {
        let mut kept = retention(3, 2);
        kept.keep("job", &job("a", 1, true));
        kept.expire("job");
        kept.keep("job", &job("a", 1, true));
        assert!(!kept.is_due());
    }

    #[test]
    fn jobs_of_the_api_are_deleted_before_applied_ones_and_old_before_new() {
        let mut kept = retention(1, 10);
        kept.keep("applied", &job("a", 1, false));
        kept.keep("made-late", &job("b", 7, true));
        kept.keep("made-early", &job("c", 3, true));
        assert_eq!(drain(&mut kept), ["made-early", "made-late"]);
    }

    #[test]
    fn a_namespace_over_its_limit_loses_jobs_before_any_other() {
        let mut kept = retention(10, 2);
        kept.keep("oldest", &job("quiet", 0, true));
        for number in 1..=4 {
            kept.keep(&format!("greedy-{number}"), &job("greedy", number, true));
        }
        assert_eq!(drain(&mut kept), ["greedy-1", "greedy-2"]);
    }

    #[test]
    fn a_job_added_twice_counts_once_and_a_failed_deletion_is_repeated() {
        let mut kept = retention(0, 10);
        kept.keep("a", &job("n", 1, true));
        kept.keep("a", &job("n", 1, true));
        assert_eq!(drain(&mut kept), ["a"]);
        kept.keep("a", &job("n", 1, true));
        assert_eq!(drain(&mut kept), ["a"]);
    }

    proptest! {
        #[test]
        fn the_rest_is_within_the_bounds_and_no_more_than_necessary_is_deleted(
            jobs in prop::collection::vec((0u8..4, 0i64..50, any::<bool>()), 0..60),
            total in 0usize..30,
            per_namespace in 0usize..12,
        ) {
            let mut kept = retention(total, per_namespace);
            for (number, (namespace, ended, made)) in jobs.iter().enumerate() {
                kept.keep(&number.to_string(), &job(&format!("n{namespace}"), *ended, *made));
            }
            let most_kept: usize = (0u8..4)
                .map(|namespace| jobs.iter().filter(|job| job.0 == namespace).count())
                .map(|count| count.min(per_namespace))
                .sum();
            let gone = drain(&mut kept).len();
            prop_assert_eq!(jobs.len() - gone, most_kept.min(total));
            prop_assert!(!kept.is_due());
            prop_assert!(kept.by_namespace.values().all(|own| own.len() <= per_namespace));
        }
    }
}
