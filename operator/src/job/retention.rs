//! Which finished jobs to delete, and which namespaces have no room for another one. Pure.
//!
//! A finished job is deleted when its `ttlSecondsAfterFinished` is over. A limit on finished jobs never
//! deletes a job that a user applied, and one that the API created only once it has been finished for a
//! minimum time; its record in the bucket then answers for it. A namespace at a limit starts no job until
//! there is room.

use super::Finished;
use crate::time::later;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Flags and environment of the retention of finished jobs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Finished jobs")]
pub struct RetentionConfig {
    /// Maximum number of finished jobs in the cluster. It is divided equally among the namespaces
    /// that have any: while it is reached, a namespace with at least its share starts no job.
    #[arg(long, env = "FOVEA_OPERATOR_MAX_FINISHED_JOBS")]
    #[arg(default_value_t = 20_000)]
    pub max_finished_jobs: usize,
    /// Maximum number of finished jobs per namespace, running jobs and jobs with an undelivered
    /// callback included. A namespace that has as many starts no job until some are deleted. From
    /// 80 percent of a limit on, the operator deletes the namespace's oldest finished jobs that were
    /// created through the API before their ttlSecondsAfterFinished is over; the API answers for them
    /// from a record in the bucket until then. It never deletes other jobs early.
    #[arg(long, env = "FOVEA_OPERATOR_MAX_FINISHED_JOBS_PER_NAMESPACE")]
    #[arg(default_value_t = 10_000)]
    pub max_finished_jobs_per_namespace: usize,
    /// Minimum time in seconds for which a finished job stays in the cluster, unless its
    /// ttlSecondsAfterFinished is shorter.
    #[arg(long, env = "FOVEA_OPERATOR_MIN_FINISHED_SECONDS")]
    #[arg(default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=86_400))]
    pub min_finished_seconds: u32,
    /// Maximum rate at which finished jobs are deleted, in jobs per second. It limits the load on
    /// the API server after many jobs expire at once. More jobs per second than this cannot finish
    /// for long.
    #[arg(long, env = "FOVEA_OPERATOR_DELETIONS_PER_SECOND")]
    #[arg(default_value_t = 500)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub deletions_per_second: u32,
}

/// Why a finished job is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its `ttlSecondsAfterFinished` is over.
    Expired,
    /// Its namespace is near a limit: it gets a record first.
    Limit,
}

impl Cause {
    /// The metrics' label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "ttl",
            Self::Limit => "limit",
        }
    }
}

/// A finished job that may be deleted early, in the order of deletion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    ended: Timestamp,
    uid: Arc<str>,
}

#[derive(Debug)]
struct Job {
    namespace: Arc<str>,
    candidate: Option<Candidate>,
    /// Its deletion is under way.
    leaving: bool,
}

#[derive(Debug, Default)]
struct Tenant {
    finished: usize,
    running: usize,
    /// Finished jobs whose deletion is under way.
    leaving: usize,
    candidates: BTreeSet<Candidate>,
}

impl Tenant {
    fn size(&self) -> usize {
        self.finished + self.running
    }
}

/// The finished jobs of all namespaces, and the number of running ones.
#[derive(Debug)]
pub(crate) struct Retention {
    config: RetentionConfig,
    jobs: HashMap<Arc<str>, Job>,
    /// The namespaces of the jobs on runners.
    running: HashMap<Arc<str>, Arc<str>>,
    tenants: HashMap<Arc<str>, Tenant>,
    /// The namespaces by [`Tenant::size`].
    by_size: BTreeSet<(usize, Arc<str>)>,
    /// The sum of all sizes.
    size: usize,
    /// The sum of all [`Tenant::leaving`].
    leaving: usize,
    expired: BTreeSet<Arc<str>>,
    /// A size has changed since [`Retention::changed_full`].
    changed: bool,
}

impl Retention {
    pub(crate) fn new(config: RetentionConfig) -> Self {
        Self {
            config,
            jobs: HashMap::new(),
            running: HashMap::new(),
            tenants: HashMap::new(),
            by_size: BTreeSet::new(),
            size: 0,
            leaving: 0,
            expired: BTreeSet::new(),
            changed: false,
        }
    }

    /// Adds a finished job, or follows its change. It is not expired until [`expire`] marks it again:
    /// its `ttlSecondsAfterFinished` may have been raised meanwhile.
    ///
    /// [`expire`]: Self::expire
    pub(crate) fn keep(&mut self, uid: &str, job: &Finished) {
        self.expired.remove(uid);
        self.stopped(uid);
        let uid: Arc<str> = uid.into();
        let candidate = job.may_have_record().then(|| Candidate {
            ended: job.ended,
            uid: Arc::clone(&uid),
        });
        let kept = self.jobs.get(&uid);
        if kept.is_some_and(|kept| kept.candidate == candidate && !kept.leaving) {
            return;
        }
        self.forget(&uid);
        let namespace: Arc<str> = (*job.namespace).into();
        let added = candidate.clone();
        self.change(&namespace, |tenant| {
            tenant.finished += 1;
            tenant.candidates.extend(added);
        });
        let job = Job {
            namespace,
            candidate,
            leaving: false,
        };
        self.jobs.insert(uid, job);
    }

    pub(crate) fn expire(&mut self, uid: &str) {
        self.expired.insert(uid.into());
    }

    /// Removes a job that is deleted.
    pub(crate) fn forget(&mut self, uid: &str) {
        self.expired.remove(uid);
        let Some(job) = self.jobs.remove(uid) else {
            return;
        };
        self.leaving -= usize::from(job.leaving);
        self.change(&job.namespace, |tenant| {
            tenant.finished -= 1;
            tenant.leaving -= usize::from(job.leaving);
            if let Some(candidate) = &job.candidate {
                tenant.candidates.remove(candidate);
            }
        });
    }

    /// A job is on a runner.
    pub(crate) fn started(&mut self, uid: &str, namespace: &str) {
        let namespace: Arc<str> = namespace.into();
        let before = self.running.insert(uid.into(), Arc::clone(&namespace));
        if before.is_none() {
            self.change(&namespace, |tenant| tenant.running += 1);
        }
    }

    /// A job is no longer on a runner.
    pub(crate) fn stopped(&mut self, uid: &str) {
        if let Some(namespace) = self.running.remove(uid) {
            self.change(&namespace, |tenant| tenant.running -= 1);
        }
    }

    /// Whether the namespace must not start another job.
    fn is_full(&self, namespace: &str) -> bool {
        self.exceeds(self.tenants.get(namespace).map_or(0, Tenant::size))
    }

    /// Why the namespace must not start another job, and what to do about it; `None` if it may.
    pub(crate) fn fullness(&self, namespace: &str) -> Option<String> {
        if !self.is_full(namespace) {
            return None;
        }
        let size = self.tenants.get(namespace).map_or(0, Tenant::size);
        let limit = self.config.max_finished_jobs_per_namespace;
        let advice = "delete finished jobs, or set spec.ttlSecondsAfterFinished on them";
        Some(if size >= limit {
            format!(
                "the namespace has as many finished jobs as it may have, {limit}, running ones and those with an undelivered callback included: {advice}"
            )
        } else {
            format!(
                "all namespaces together have as many finished jobs as they may have, {}, and this one has at least its share of {}: {advice} until it has less than its share",
                self.config.max_finished_jobs,
                self.share(),
            )
        })
    }

    /// The namespaces that must not start another job.
    pub(crate) fn full(&self) -> HashSet<String> {
        let full = self.by_size.iter().rev();
        full.take_while(|(size, _)| self.exceeds(*size))
            .map(|(_, namespace)| namespace.to_string())
            .collect()
    }

    /// As [`Retention::full`]; `None` if no number of jobs has changed since the last call.
    pub(crate) fn changed_full(&mut self) -> Option<HashSet<String>> {
        std::mem::take(&mut self.changed).then(|| self.full())
    }

    /// The number of namespaces with finished or running jobs.
    pub(crate) fn namespaces(&self) -> usize {
        self.tenants.len()
    }

    /// Why [`Retention::take`] would return a job; `None` if it would return none.
    pub(crate) fn next_cause(&self, now: Timestamp) -> Option<Cause> {
        if !self.expired.is_empty() {
            return Some(Cause::Expired);
        }
        self.early(now).map(|_| Cause::Limit)
    }

    /// The next job to delete. It counts until it is forgotten, and is returned again only after it was
    /// kept or expired again.
    pub(crate) fn take(&mut self, now: Timestamp) -> Option<(Arc<str>, Cause)> {
        let (uid, cause) = match self.expired.pop_first() {
            Some(uid) => (uid, Cause::Expired),
            None => (Arc::clone(&self.early(now)?.uid), Cause::Limit),
        };
        if let Some(job) = self.jobs.get_mut(&uid)
            && !job.leaving
            && let Some(tenant) = self.tenants.get_mut(&job.namespace)
        {
            job.leaving = true;
            tenant.leaving += 1;
            self.leaving += 1;
            if let Some(candidate) = &job.candidate {
                tenant.candidates.remove(candidate);
            }
        }
        Some((uid, cause))
    }

    /// The job to delete before its time: the oldest of the namespace that is furthest over its share.
    fn early(&self, now: Timestamp) -> Option<&Candidate> {
        let over_its_own = most_of(self.config.max_finished_jobs_per_namespace);
        let over_its_share = if self.size - self.leaving > most_of(self.config.max_finished_jobs) {
            most_of(self.share())
        } else {
            usize::MAX
        };
        let most = over_its_own.min(over_its_share);
        let minimum = SignedDuration::from_secs(i64::from(self.config.min_finished_seconds));
        let largest_first = self.by_size.iter().rev();
        largest_first
            .take_while(|(size, _)| *size > most)
            .filter_map(|(size, namespace)| {
                let tenant = self.tenants.get(namespace)?;
                let stay = size - tenant.leaving;
                tenant.candidates.first().filter(|_| stay > most)
            })
            .find(|oldest| later(oldest.ended, minimum) <= now)
    }

    /// Whether a namespace of this size is at a limit.
    fn exceeds(&self, size: usize) -> bool {
        size >= self.config.max_finished_jobs_per_namespace
            || (self.size >= self.config.max_finished_jobs && size >= self.share())
    }

    /// Each namespace's share of the limit for all.
    fn share(&self) -> usize {
        (self.config.max_finished_jobs / self.tenants.len().max(1)).max(1)
    }

    fn change(&mut self, namespace: &Arc<str>, change: impl FnOnce(&mut Tenant)) {
        let tenant = self.tenants.entry(Arc::clone(namespace)).or_default();
        let before = tenant.size();
        change(tenant);
        let after = tenant.size();
        if before == after && after > 0 {
            return;
        }
        self.size = self.size - before + after;
        self.changed = true;
        self.by_size.remove(&(before, Arc::clone(namespace)));
        if after == 0 {
            self.tenants.remove(namespace);
        } else {
            self.by_size.insert((after, Arc::clone(namespace)));
        }
    }
}

/// 80 percent of a limit, from which on jobs are deleted early.
fn most_of(limit: usize) -> usize {
    limit.saturating_sub((limit / 5).max(1))
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
