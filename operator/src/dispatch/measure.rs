//! The gauges of queues and runners, updated every two seconds.

use super::Dispatcher;
use crate::metrics::{BatchSnapshot, PoolSnapshot, Snapshot};
use crate::pool::load::Health;
use fovea_crds::Task;
use std::collections::BTreeMap;

impl Dispatcher {
    pub(super) fn measure(&mut self) {
        self.pools.pass_time(super::REPORT_EVERY);
        let full_namespaces = self.follow_full_namespaces();
        let (unfinished, finished) = self.book.count();
        let now = crate::time::now();
        let pools = self.pools.iter().map(|(key, queue, fleet)| {
            let models = self.directory.pools.get(key).map(|pool| &pool.spec.models);
            let models: BTreeMap<&str, Task> = models
                .into_iter()
                .flatten()
                .map(|model| (model.name.as_str(), model.task))
                .collect();
            // Every task has a gauge, even if nothing waits: alerts need gauges that do not come and go.
            let mut waiting = Task::ALL.map(|task| (task, 0, now));
            for job in queue.iter() {
                let task = models.get(job.model.as_str());
                let each = waiting.iter_mut().find(|(each, ..)| Some(each) == task);
                if let Some((_, depth, oldest)) = each {
                    *depth += 1;
                    *oldest = job.created.min(*oldest);
                }
            }
            let (mut up, mut down) = (0, 0);
            for health in fleet.health() {
                match health {
                    Health::Up { .. } => up += 1,
                    Health::Down(_)
                    | Health::Refusing(_)
                    | Health::Starting(_)
                    | Health::Unchecked => down += 1,
                }
            }
            let waiting = waiting.map(|(task, depth, oldest)| {
                let age = now.duration_since(oldest).as_secs_f64();
                (task.as_str(), depth, age)
            });
            PoolSnapshot {
                pool: format!("{}/{}", key.namespace, key.name),
                waiting: waiting.to_vec(),
                in_flight: fleet.in_flight(),
                up,
                down,
            }
        });
        let left = self.batches.left();
        let batches = self.pools.iter().map(|(key, ..)| {
            let left = left.get(key).copied().unwrap_or_default();
            BatchSnapshot {
                pool: format!("{}/{}", key.namespace, key.name),
                running: left.batches,
                pictures_left: left.pictures,
                seconds_since_progress: left.without_progress().as_secs_f64(),
            }
        });
        let (callbacks_waiting, callbacks_in_flight) = self.calls.count();
        let snapshot = Snapshot {
            unfinished,
            finished,
            full_namespaces,
            namespaces_over_quota: self.quota.full(),
            namespaces: self.namespaces(),
            callbacks_waiting,
            callbacks_in_flight,
            kept_results: self.kept.taken(),
            pools: pools.collect(),
            batches: batches.collect(),
        };
        self.parts.metrics.snapshot(&snapshot);
    }

    /// The tables with a row for each namespace; each is emptied of a namespace that is gone.
    fn namespaces(&self) -> Vec<(&'static str, usize)> {
        let queues: usize = self
            .pools
            .iter()
            .map(|(_, queue, _)| queue.namespaces())
            .sum();
        vec![
            ("known", self.directory.namespaces.len()),
            ("unfinished-jobs", self.book.namespaces()),
            ("finished-jobs", self.retention.namespaces()),
            ("queues", queues),
            ("callbacks", self.calls.namespaces()),
            ("folders", self.folders.len()),
        ]
    }
}
