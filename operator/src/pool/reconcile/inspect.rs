//! Step 2: reads what no watch covers: the models' manifests in the bucket, and the Events of pods
//! that do not start. Both are cached in the pool's memory.

use super::observe::{Folder, Observed};
use super::{Context, Memory};
use crate::pool::message::Message;
use crate::pool::published::Weights;
use crate::pool::starting;
use crate::pool::weights::{self, WeightsError};
use crate::time::later;
use fovea_store::StoreError;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a valid manifest is trusted before it is read again.
const TRUST_FOLDER: Duration = Duration::from_mins(10);
/// Upper bound on the check of a pool's manifests: its status waits for it.
const CHECK_WITHIN: Duration = Duration::from_secs(5);
/// How long a valid manifest is remembered, in case the store does not answer.
const FORGET_FOLDER: Duration = Duration::from_hours(24);
/// A pod has this long to be scheduled and started before its Events are read.
const STARTED_WITHIN: Duration = Duration::from_secs(5);
/// Interval at which the Events of such pods are read.
const READ_EVENTS_EVERY: Duration = Duration::from_secs(10);
/// Pods of one pool whose Events are read at a time; the others most likely fail alike.
const MAX_PODS: usize = 4;
/// Events of one pod that are read.
const MAX_EVENTS: u32 = 50;

/// The faults of one pool's pods that do not start.
#[derive(Default)]
pub(super) struct StartFaults {
    read: Option<Timestamp>,
    by_pod: BTreeMap<String, Message>,
}

/// The error of a store that does not answer in time.
fn silent() -> StoreError {
    let seconds = CHECK_WITHIN.as_secs();
    StoreError::Unavailable(format!("no answer within {seconds} s"))
}

impl Context {
    /// Fills in [`Observed`]; returns when to inspect again, where that is due before long.
    pub(super) async fn inspect(
        &self,
        observed: &mut Observed<'_>,
        memory: &mut Memory,
    ) -> Option<Timestamp> {
        observed.store_skew = self.store.clock_skew();
        if !observed.refusals.is_empty() || observed.pool.spec.external.is_some() {
            return None;
        }
        self.inspect_folders(observed, memory).await;
        self.inspect_starts(observed, memory).await
    }

    async fn inspect_folders(&self, observed: &mut Observed<'_>, memory: &mut Memory) {
        let now = observed.now;
        let age = |seen: Timestamp| now.duration_since(seen).unsigned_abs();
        memory
            .complete_folders
            .retain(|_, seen| age(*seen) < FORGET_FOLDER);
        let mut unchecked = Vec::new();
        for model in &mut observed.models {
            let Some(Weights::Bucket { prefix, .. }) = &model.location.weights else {
                continue;
            };
            let prefix = prefix.clone();
            let seen = memory.complete_folders.get(&prefix).copied();
            if seen.is_some_and(|seen| age(seen) < TRUST_FOLDER) {
                model.folder = Folder::Complete;
            } else {
                unchecked.push((model, prefix, seen));
            }
        }
        let checks = unchecked.iter().map(|(_, prefix, _)| async move {
            let check = timeout(CHECK_WITHIN, weights::check(&self.store, prefix));
            check.await.unwrap_or_else(|_| Err(silent().into()))
        });
        let checked = join_all(checks).await;
        for ((model, prefix, seen), check) in unchecked.into_iter().zip(checked) {
            model.folder = match check {
                Ok(()) => {
                    if seen.is_none() {
                        let (pool, model) = (&observed.subject.key.name, &model.model.name);
                        tracing::info!(pool, model, prefix, "weights found");
                    }
                    memory.complete_folders.insert(prefix, now);
                    Folder::Complete
                }
                Err(WeightsError::Store(_)) if seen.is_some() => Folder::Unconfirmed,
                Err(error) => Folder::Unusable(error),
            };
        }
    }

    async fn inspect_starts(
        &self,
        observed: &mut Observed<'_>,
        memory: &mut Memory,
    ) -> Option<Timestamp> {
        let now = observed.now;
        let waiting = observed.children.pods.iter().filter_map(|pod| {
            let since = starting::unstarted(pod)?;
            Some((later(since, STARTED_WITHIN), Arc::clone(pod)))
        });
        let (late, early): (Vec<_>, Vec<_>) = waiting.partition(|(due, _)| *due <= now);
        let first_due = early.iter().map(|(due, _)| *due).min();
        let faults = &mut memory.start_faults;
        if late.is_empty() {
            *faults = StartFaults::default();
            return first_due;
        }
        let mut again = (faults.read).map_or(now, |read| later(read, READ_EVENTS_EVERY));
        if again <= now {
            faults.read = Some(now);
            faults.by_pod.clear();
            for (_, pod) in late.iter().take(MAX_PODS) {
                let fault = starting::event_fault(&self.events_of(pod).await);
                let fault = fault.or_else(|| starting::unseen(pod, now));
                let fault = fault.map(|fault| (pod.name_any(), fault));
                faults.by_pod.extend(fault);
            }
            again = later(now, READ_EVENTS_EVERY);
        }
        observed.start_faults = starting::by_kind(&faults.by_pod);
        Some(first_due.map_or(again, |due| due.min(again)))
    }

    /// A pod's warnings; none if they cannot be read: other faults are shown then.
    async fn events_of(&self, pod: &Pod) -> Vec<Event> {
        let namespace = pod.namespace().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let uid = pod.uid().unwrap_or_default();
        let params = ListParams::default()
            .fields(&format!("involvedObject.uid={uid},type=Warning"))
            .limit(MAX_EVENTS);
        match events.list(&params).await {
            Ok(events) => events.items,
            Err(error) => {
                tracing::warn!(pod = pod.name_any(), %error, "reading a pod's Events failed");
                Vec::new()
            }
        }
    }
}
