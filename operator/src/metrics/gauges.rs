//! Gauges that the loop sets from a snapshot every other second, so that a scrape takes no lock of the
//! loop.

use super::labels::{
    LimitLabels, PoolLabels, PoolTaskLabels, RunnerLabels, StateLabels, TableLabels,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// A gauge of seconds, with fractions.
type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) unfinished: usize,
    /// Jobs that have ended and are not deleted yet.
    pub(crate) finished: usize,
    /// Namespaces that start no job because of their finished ones.
    pub(crate) full_namespaces: usize,
    /// Namespaces with jobs that wait because of the unfinished ones.
    pub(crate) namespaces_over_quota: usize,
    /// The number of namespaces in each table that has a row for each.
    pub(crate) namespaces: Vec<(&'static str, usize)>,
    /// Callbacks that are due and wait for their turn.
    pub(crate) callbacks_waiting: usize,
    pub(crate) callbacks_in_flight: usize,
    /// Large results that the store has not taken yet.
    pub(crate) kept_results: usize,
    pub(crate) pools: Vec<PoolSnapshot>,
    /// Of every pool, even without batches: alerts need gauges that do not come and go.
    pub(crate) batches: Vec<BatchSnapshot>,
}

/// The batches of one pool that are neither suspended nor held by their `parallelism`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BatchSnapshot {
    /// `namespace/name`
    pub(crate) pool: String,
    pub(crate) running: u32,
    /// Pictures without a row, of all of them.
    pub(crate) pictures_left: u64,
    /// Longest time since a batch's latest picture, or since its start, of the batches that have shards on
    /// runners; where none has, of the pool's latest picture: a batch may wait for its turn. 0 without
    /// batches.
    pub(crate) seconds_since_progress: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PoolSnapshot {
    /// `namespace/name`
    pub(crate) pool: String,
    /// Per task: the number of waiting jobs, and the age of the oldest in seconds.
    pub(crate) waiting: Vec<(&'static str, usize, f64)>,
    pub(crate) in_flight: u32,
    pub(crate) up: usize,
    pub(crate) down: usize,
}

/// The scale of one pool with pods.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PoolScaling {
    /// `namespace/name`
    pub pool: String,
    pub wanted: u32,
    /// Time for which the unfinished jobs would keep one runner busy; `None` until a runner's speed is
    /// measured.
    pub backlog_seconds: Option<f64>,
}

/// A family whose values are replaced as a whole, so that the series of a deleted pool end.
#[derive(Debug)]
struct Replaced<L, M>(Family<L, M>, Mutex<HashSet<L>>);

#[derive(Debug, Default)]
pub(super) struct Gauges {
    jobs: Family<StateLabels, Gauge>,
    full_namespaces: Family<LimitLabels, Gauge>,
    clock_skew: Seconds,
    namespaces: Family<TableLabels, Gauge>,
    callbacks: Family<StateLabels, Gauge>,
    kept_results: Gauge,
    queue_depth: Replaced<PoolTaskLabels, Gauge>,
    oldest_waiting: Replaced<PoolTaskLabels, Seconds>,
    in_flight: Replaced<PoolLabels, Gauge>,
    runners: Replaced<RunnerLabels, Gauge>,
    wanted: Replaced<PoolLabels, Gauge>,
    backlog: Replaced<PoolLabels, Seconds>,
    batches: Replaced<PoolLabels, Gauge>,
    batch_pictures_left: Replaced<PoolLabels, Gauge>,
    batch_progress_age: Replaced<PoolLabels, Seconds>,
}

impl Gauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "jobs",
            "Jobs in the cluster, unfinished or finished",
            self.jobs.clone(),
        );
        registry.register(
            "full_namespaces",
            "Namespaces that start or accept no other job because they have too many finished or unfinished ones",
            self.full_namespaces.clone(),
        );
        registry.register_with_unit(
            "clock_skew",
            "Time by which this machine's clock is ahead of the API server's, which is used",
            Unit::Seconds,
            self.clock_skew.clone(),
        );
        registry.register(
            "namespaces",
            "Namespaces in the operator's memory, by the table that holds them",
            self.namespaces.clone(),
        );
        registry.register(
            "callbacks_due",
            "Callbacks that are due: waiting for their turn, or in flight",
            self.callbacks.clone(),
        );
        registry.register(
            "kept_results",
            "Large results in memory until the object store takes them",
            self.kept_results.clone(),
        );
        registry.register(
            "queue_depth",
            "Jobs waiting for a runner, by pool and task",
            self.queue_depth.0.clone(),
        );
        registry.register_with_unit(
            "oldest_waiting",
            "Time since the creation of the oldest job waiting for a runner",
            Unit::Seconds,
            self.oldest_waiting.0.clone(),
        );
        registry.register(
            "attempts_in_flight",
            "Attempts under way, by pool",
            self.in_flight.0.clone(),
        );
        registry.register(
            "runners",
            "Runners of a pool, by state: up (it answers) or down",
            self.runners.0.clone(),
        );
        registry.register(
            "pool_replicas_wanted",
            "Desired number of runners of a pool with pods",
            self.wanted.0.clone(),
        );
        registry.register_with_unit(
            "pool_backlog",
            "Estimated time that one runner would need for all unfinished jobs and batches of a pool",
            Unit::Seconds,
            self.backlog.0.clone(),
        );
        registry.register(
            "batches",
            "Batches of a pool that may run",
            self.batches.0.clone(),
        );
        registry.register(
            "batch_pictures_left",
            "Pictures that the batches of a pool have still to do",
            self.batch_pictures_left.0.clone(),
        );
        registry.register_with_unit(
            "batch_progress_age",
            "Time since the latest picture of the batch of a pool that has had none for longest",
            Unit::Seconds,
            self.batch_progress_age.0.clone(),
        );
    }

    pub(super) fn set_scaling(&self, pools: &[PoolScaling]) {
        let labels = |each: &PoolScaling| PoolLabels {
            pool: each.pool.clone(),
        };
        let wanted = pools.iter().map(|each| (labels(each), each.wanted));
        let backlog = pools
            .iter()
            .filter_map(|each| Some((labels(each), each.backlog_seconds?)));
        self.wanted.replace(wanted.collect(), |gauge, wanted| {
            gauge.set(wanted.into());
        });
        self.backlog.replace(backlog.collect(), |gauge, seconds| {
            gauge.set(seconds);
        });
    }

    pub(super) fn set_clock_skew(&self, seconds: f64) {
        self.clock_skew.set(seconds);
    }

    pub(super) fn set(&self, snapshot: &Snapshot) {
        let Snapshot {
            unfinished,
            finished,
            full_namespaces,
            namespaces_over_quota,
            namespaces,
            callbacks_waiting,
            callbacks_in_flight,
            kept_results,
            pools,
            batches,
        } = snapshot;
        self.set_batches(batches);
        self.kept_results.set(count(*kept_results));
        for (state, jobs) in [("unfinished", unfinished), ("finished", finished)] {
            let gauge = self.jobs.get_or_create(&StateLabels { state });
            gauge.set(count(*jobs));
        }
        let full = [
            ("finished", full_namespaces),
            ("unfinished", namespaces_over_quota),
        ];
        for (limit, namespaces) in full {
            let gauge = self.full_namespaces.get_or_create(&LimitLabels { limit });
            gauge.set(count(*namespaces));
        }
        for (table, number) in namespaces {
            let gauge = self.namespaces.get_or_create(&TableLabels { table });
            gauge.set(count(*number));
        }
        let callbacks = [
            ("waiting", callbacks_waiting),
            ("in-flight", callbacks_in_flight),
        ];
        for (state, number) in callbacks {
            let gauge = self.callbacks.get_or_create(&StateLabels { state });
            gauge.set(count(*number));
        }
        let (mut depths, mut oldest) = (Vec::new(), Vec::new());
        let (mut in_flight, mut runners) = (Vec::new(), Vec::new());
        for pool in pools {
            for (task, waiting, age) in &pool.waiting {
                let labels = PoolTaskLabels {
                    pool: pool.pool.clone(),
                    task,
                };
                depths.push((labels.clone(), count(*waiting)));
                oldest.push((labels, *age));
            }
            let labels = PoolLabels {
                pool: pool.pool.clone(),
            };
            in_flight.push((labels, i64::from(pool.in_flight)));
            for (state, number) in [("up", pool.up), ("down", pool.down)] {
                let pool = pool.pool.clone();
                runners.push((RunnerLabels { pool, state }, count(number)));
            }
        }
        let set = |gauge: &Gauge, value| {
            gauge.set(value);
        };
        self.queue_depth.replace(depths, set);
        self.in_flight.replace(in_flight, set);
        self.runners.replace(runners, set);
        self.oldest_waiting.replace(oldest, |gauge, value| {
            gauge.set(value);
        });
    }

    fn set_batches(&self, batches: &[BatchSnapshot]) {
        let (mut running, mut left, mut ages) = (Vec::new(), Vec::new(), Vec::new());
        for BatchSnapshot {
            pool,
            running: batches,
            pictures_left,
            seconds_since_progress,
        } in batches
        {
            let labels = PoolLabels { pool: pool.clone() };
            running.push((labels.clone(), i64::from(*batches)));
            let pictures = i64::try_from(*pictures_left).unwrap_or(i64::MAX);
            left.push((labels.clone(), pictures));
            ages.push((labels, *seconds_since_progress));
        }
        let set = |gauge: &Gauge, value| {
            gauge.set(value);
        };
        self.batches.replace(running, set);
        self.batch_pictures_left.replace(left, set);
        self.batch_progress_age.replace(ages, |gauge, value| {
            gauge.set(value);
        });
    }
}

impl<L: Clone + Eq + Hash, M: Default> Default for Replaced<L, M> {
    fn default() -> Self {
        Self(Family::default(), Mutex::default())
    }
}

impl<L, M> Replaced<L, M>
where
    L: Clone + Eq + Hash + EncodeLabelSet,
    M: Default,
{
    fn replace<V>(&self, values: Vec<(L, V)>, set: impl Fn(&M, V)) {
        let Self(family, known) = self;
        let mut now = HashSet::new();
        for (labels, value) in values {
            set(&family.get_or_create(&labels), value);
            now.insert(labels);
        }
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.difference(&now) {
            family.remove(gone);
        }
        *known = now;
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
