//! Step 6: writes the pool's status, where it has changed. The only writer of a pool's status.

use super::apply::Applied;
use super::observe::Observed;
use super::status::{new_fault, status};
use super::verdict::stalls_at;
use super::{Context, Memory};
use crate::kill_points;
use crate::time::later;
use fovea_crds::RunnerPool;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Resource as _};
use std::time::Duration;

/// Least time between two writes of one pool's status.
const WRITE_EVERY: Duration = Duration::from_secs(2);

impl Context {
    /// Writes the status; returns when to try again, where that has to be, or when the pool will be stalled.
    pub(super) async fn write_status(
        &self,
        observed: &Observed<'_>,
        applied: &Applied,
        memory: &mut Memory,
    ) -> Option<Timestamp> {
        let after = |time: Timestamp| later(time, WRITE_EVERY);
        let before = observed.pool.written_status();
        let status = status(observed, applied)?;
        let stalls_at = stalls_at(&status.conditions).filter(|at| *at > observed.now);
        if before == Some(&status) {
            return stalls_at;
        }
        let again = memory.status_written.map(after);
        if let Some(again) = again.filter(|again| *again > crate::time::now()) {
            return Some(again);
        }
        if let Some(notice) = new_fault(before, &status) {
            let object = observed.pool.object_ref(&());
            self.events.warn(object, "AskRunners", notice);
        }
        let key = &observed.subject.key;
        let pools: Api<RunnerPool> = Api::namespaced(self.client.clone(), &key.namespace);
        // With the observed resourceVersion, so that a newer status, such as a newer leader's, is not
        // overwritten.
        let pool = RunnerPool {
            status: Some(status),
            ..observed.pool.clone()
        };
        let params = PostParams::default();
        let written = pools.replace_status(&key.name, &params, &pool).await;
        let now = crate::time::now();
        match written {
            Ok(_) => {
                memory.status_written = Some(now);
                kill_points::after(kill_points::POOL_STATUS);
                stalls_at
            }
            // The watch delivers the present object, which causes another reconcile.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => None,
            Err(error) => {
                tracing::warn!(pool = key.name, namespace = key.namespace, %error, "writing a pool's status failed");
                memory.status_written = Some(now);
                Some(after(now))
            }
        }
    }
}
