//! Reports the pools' loads to the pool controller.

use super::Dispatcher;

impl Dispatcher {
    pub(super) fn publish_loads(&self) {
        let loads = self.pools.loads(&self.batches.left());
        self.parts
            .loads
            .send_if_modified(|known| std::mem::replace(known, loads.clone()) != loads);
    }

    /// Publishes the loads at once when a pool gets its first job: it may have no runner.
    pub(super) fn publish_first_job(&self) {
        let first = {
            let known = self.parts.loads.borrow();
            self.pools.runnable().any(|(key, runnable)| {
                let idle = known.get(key).is_none_or(|load| load.queued == 0);
                idle && runnable > 0
            })
        };
        if first {
            self.publish_loads();
        }
    }
}
