//! Which unfinished jobs a namespace may have: as many as its limit, oldest first. The others wait for
//! room. Pure.
//!
//! Every unfinished job counts, suspended ones included: each is kept in memory and in etcd. A job that
//! was once accepted keeps its place, also when the limit is lowered.

use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Flags and environment of the limits on unfinished jobs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Unfinished jobs")]
pub struct QuotaConfig {
    /// Maximum number of unfinished jobs per namespace, suspended ones included. Further jobs wait, with
    /// the condition Accepted False, and are accepted in order of creation.
    /// The annotation fovea.dev/max-unfinished-jobs of a Namespace replaces it for that one. A batch is
    /// one job.
    #[arg(long, env = "FOVEA_OPERATOR_MAX_UNFINISHED_JOBS_PER_NAMESPACE")]
    #[arg(default_value_t = 10_000)]
    pub max_unfinished_jobs_per_namespace: usize,
}

/// A job's place in the order of its namespace.
type Place = (Timestamp, Arc<str>);

#[derive(Debug)]
struct Job {
    namespace: Arc<str>,
    created: Timestamp,
    admitted: bool,
}

#[derive(Debug, Default)]
struct Tenant {
    admitted: usize,
    waiting: BTreeSet<Place>,
}

/// The unfinished jobs of all namespaces.
#[derive(Debug)]
pub(crate) struct Quota {
    config: QuotaConfig,
    /// Limits of single namespaces, by their annotation.
    limits: HashMap<Box<str>, usize>,
    jobs: HashMap<Arc<str>, Job>,
    tenants: HashMap<Arc<str>, Tenant>,
    waiting: usize,
    /// Everything is listed: jobs are admitted. Before, only those that have been accepted are.
    begun: bool,
    /// Jobs that were admitted after they had waited.
    released: Vec<Arc<str>>,
}

impl Quota {
    pub(crate) fn new(config: QuotaConfig) -> Self {
        Self {
            config,
            limits: HashMap::new(),
            jobs: HashMap::new(),
            tenants: HashMap::new(),
            waiting: 0,
            begun: false,
            released: Vec::new(),
        }
    }

    /// Adds an unfinished job, or follows its change. `accepted`: it has been accepted or begun before.
    pub(crate) fn keep(&mut self, uid: &str, namespace: &str, created: Timestamp, accepted: bool) {
        match self.jobs.get(uid) {
            Some(known) if accepted && !known.admitted => self.forget(uid),
            Some(_) => return,
            None => {}
        }
        let limit = self.limit(namespace);
        let (uid, namespace): (Arc<str>, Arc<str>) = (uid.into(), namespace.into());
        let tenant = self.tenants.entry(Arc::clone(&namespace)).or_default();
        let has_room = self.begun && tenant.waiting.is_empty() && tenant.admitted < limit;
        let admitted = accepted || has_room;
        if admitted {
            tenant.admitted += 1;
        } else {
            tenant.waiting.insert((created, Arc::clone(&uid)));
            self.waiting += 1;
        }
        let job = Job {
            namespace,
            created,
            admitted,
        };
        self.jobs.insert(uid, job);
    }

    /// Removes a job that has ended or is gone; the next one of its namespace gets its place.
    pub(crate) fn forget(&mut self, uid: &str) {
        let Some((uid, job)) = self.jobs.remove_entry(uid) else {
            return;
        };
        if let Some(tenant) = self.tenants.get_mut(&job.namespace) {
            if job.admitted {
                tenant.admitted -= 1;
            } else if tenant.waiting.remove(&(job.created, uid)) {
                self.waiting -= 1;
            }
        }
        self.fill(&job.namespace);
    }

    /// Sets a namespace's own limit; `None`: the limit of all.
    pub(crate) fn set_limit(&mut self, namespace: &str, limit: Option<usize>) {
        match limit {
            Some(limit) => self.limits.insert(namespace.into(), limit),
            None => self.limits.remove(namespace),
        };
        self.fill(namespace);
    }

    /// Everything is listed: from now on jobs are admitted. Returns those that wait on.
    pub(crate) fn begin(&mut self) -> Vec<Arc<str>> {
        if std::mem::replace(&mut self.begun, true) {
            return Vec::new();
        }
        let namespaces: Vec<Arc<str>> = self.tenants.keys().cloned().collect();
        for namespace in namespaces {
            self.fill(&namespace);
        }
        self.released.clear();
        let waiting = self.tenants.values().flat_map(|tenant| &tenant.waiting);
        waiting.map(|(_, uid)| Arc::clone(uid)).collect()
    }

    /// Whether the job waits for a place, now that everything is listed.
    pub(crate) fn is_waiting(&self, uid: &str) -> bool {
        self.begun && self.jobs.get(uid).is_some_and(|job| !job.admitted)
    }

    /// Why the job has to wait; `None` if it has a place.
    pub(crate) fn excess(&self, uid: &str) -> Option<String> {
        let job = self.jobs.get(uid).filter(|job| !job.admitted)?;
        let tenant = self.tenants.get(&job.namespace)?;
        Some(format!(
            "the namespace has {} unfinished jobs, and may have {}, suspended ones included: this one is accepted when others have ended and older ones have been accepted",
            tenant.admitted + tenant.waiting.len(),
            self.limit(&job.namespace),
        ))
    }

    /// Jobs that have got a place since the last call, after they had to wait.
    pub(crate) fn take_released(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.released)
    }

    /// The number of jobs that wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The number of namespaces with jobs that wait for a place.
    pub(crate) fn full(&self) -> usize {
        let tenants = self.tenants.values();
        tenants.filter(|tenant| !tenant.waiting.is_empty()).count()
    }

    fn limit(&self, namespace: &str) -> usize {
        let own = self.limits.get(namespace).copied();
        own.unwrap_or(self.config.max_unfinished_jobs_per_namespace)
    }

    fn fill(&mut self, namespace: &str) {
        let limit = self.limit(namespace);
        let Some(tenant) = self.tenants.get_mut(namespace) else {
            return;
        };
        while self.begun
            && tenant.admitted < limit
            && let Some((_, uid)) = tenant.waiting.pop_first()
        {
            tenant.admitted += 1;
            self.waiting -= 1;
            if let Some(job) = self.jobs.get_mut(&uid) {
                job.admitted = true;
            }
            self.released.push(uid);
        }
        if tenant.admitted == 0 && tenant.waiting.is_empty() {
            self.tenants.remove(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn quota(limit: usize) -> Quota {
        Quota::new(QuotaConfig {
            max_unfinished_jobs_per_namespace: limit,
        })
    }

    impl Quota {
        fn held(&self) -> Vec<&str> {
            let held = self.tenants.values().flat_map(|tenant| &tenant.waiting);
            held.map(|(_, uid)| &**uid).collect()
        }

        fn released(&mut self) -> Vec<String> {
            let released = self.take_released();
            released.iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn jobs_beyond_the_limit_are_accepted_in_order_of_creation_as_room_appears() {
        let mut quota = quota(2);
        quota.begin();
        for (uid, created) in [("a", 1), ("b", 2), ("d", 4), ("c", 3)] {
            quota.keep(uid, "ns", at(created), false);
        }
        quota.keep("other", "elsewhere", at(9), false);
        assert_eq!(quota.held(), ["c", "d"]);
        assert_eq!((quota.waiting(), quota.full()), (2, 1));
        let message = quota.excess("d").unwrap();
        assert!(
            message.contains("4 unfinished jobs, and may have 2"),
            "{message}"
        );
        assert_eq!(quota.excess("a"), None);
        assert!(quota.released().is_empty());
        quota.forget("b");
        assert_eq!(quota.released(), ["c"]);
        assert_eq!(quota.excess("c"), None);
        quota.forget("d");
        quota.forget("a");
        assert_eq!((quota.waiting(), quota.full()), (0, 0));
    }

    #[test]
    fn a_new_leader_admits_what_was_accepted_and_then_the_oldest_whatever_the_list_s_order() {
        let mut quota = quota(2);
        quota.keep("young", "ns", at(9), false);
        quota.keep("old", "ns", at(1), false);
        quota.keep("accepted", "ns", at(5), true);
        assert_eq!(quota.held(), ["old", "young"]);
        assert!(!quota.is_waiting("young"), "not decided yet");
        assert_eq!(quota.begin(), ["young".into()]);
        assert_eq!(quota.excess("old"), None);
        assert!(quota.released().is_empty() && quota.is_waiting("young"));
        assert!(quota.begin().is_empty());
        // It had a place before the limit was lowered.
        quota.keep("young", "ns", at(9), true);
        assert_eq!((quota.excess("young"), quota.waiting()), (None, 0));
    }

    #[test]
    fn a_namespace_s_own_limit_replaces_the_general_one_and_a_lower_one_takes_no_place_away() {
        let mut quota = quota(1);
        quota.begin();
        for uid in ["a", "b", "c"] {
            quota.keep(uid, "ns", at(0), false);
        }
        quota.set_limit("ns", Some(2));
        assert_eq!(quota.released(), ["b"]);
        quota.set_limit("ns", Some(0));
        assert_eq!(quota.held(), ["c"]);
        assert!(quota.excess("c").unwrap().contains("may have 0"));
        quota.set_limit("ns", None);
        quota.forget("a");
        assert!(quota.released().is_empty());
        quota.forget("b");
        assert_eq!(quota.released(), ["c"]);
    }

    proptest! {
        #[test]
        fn as_many_as_there_is_room_for_are_admitted_and_nothing_stays_behind(
            steps in prop::collection::vec((0u8..3, 0u8..12, 0i64..5, any::<bool>(), any::<bool>()), 0..80),
            limit in 0usize..4,
        ) {
            let mut quota = quota(limit);
            quota.begin();
            let mut jobs: BTreeMap<String, u8> = BTreeMap::new();
            for (namespace, number, created, accepted, goes) in steps {
                let uid = format!("{namespace}-{number}");
                if goes {
                    quota.forget(&uid);
                    jobs.remove(&uid);
                } else {
                    quota.keep(&uid, &namespace.to_string(), at(created), accepted);
                    jobs.insert(uid, namespace);
                }
                let waiting = jobs.keys().filter(|uid| quota.excess(uid).is_some()).count();
                prop_assert_eq!(waiting, quota.waiting());
                for tenant in quota.tenants.values() {
                    prop_assert!(tenant.waiting.is_empty() || tenant.admitted >= limit);
                    prop_assert!(tenant.admitted + tenant.waiting.len() > 0);
                }
            }
            for uid in jobs.keys() {
                quota.forget(uid);
            }
            prop_assert!(quota.jobs.is_empty() && quota.tenants.is_empty() && quota.waiting == 0);
        }
    }
}
