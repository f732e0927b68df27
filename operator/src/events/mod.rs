//! Publishes Kubernetes Events about what a person must act on, and nothing else. Each is a write, so
//! their rate is bounded, by namespace and for all, and Events beyond it are dropped: the condition or the
//! failure that they are about says the same.

mod budget;

use budget::{Budget, Refusal};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::Semaphore;

const AT_A_TIME: usize = 8;
/// Bound on Events that wait for their turn; further ones are dropped.
const WAITING: usize = 64;
/// Upper bound on a note; the API server accepts at most 1 KiB.
const MAX_NOTE_LENGTH: u32 = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The machine-readable reason, as in the condition or the failure.
    pub reason: String,
    pub note: String,
}

/// Publishes Warnings. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    recorder: Recorder,
    budget: Arc<Mutex<Budget>>,
    waiting: Arc<Semaphore>,
    under_way: Arc<Semaphore>,
}

impl Events {
    pub(crate) fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: "fovea-operator".to_owned(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(client, reporter),
            budget: Arc::new(Mutex::new(Budget::new(Instant::now()))),
            waiting: Arc::new(Semaphore::new(WAITING)),
            under_way: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Publishes a Warning about `object` in a task of its own; `action` names what was tried.
    pub(crate) fn warn(&self, object: ObjectReference, action: &str, notice: Notice) {
        let Ok(waits) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return dropped(&object, &notice);
        };
        match self.take(&object, &notice) {
            Ok(()) => {}
            Err(Refusal::Known) => return,
            Err(Refusal::TooMany) => return dropped(&object, &notice),
        }
        let event = Event {
            type_: EventType::Warning,
            reason: notice.reason,
            note: Some(fovea_crds::clip::clip(&notice.note, MAX_NOTE_LENGTH)),
            action: action.to_owned(),
            secondary: None,
        };
        let (recorder, under_way) = (self.recorder.clone(), Arc::clone(&self.under_way));
        tokio::spawn(async move {
            let _permit = under_way.acquire().await;
            if let Err(error) = recorder.publish(&event, &object).await {
                tracing::warn!(%error, "an Event could not be published");
            }
            drop(waits);
        });
    }

    fn take(&self, object: &ObjectReference, notice: &Notice) -> Result<(), Refusal> {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let uid = object.uid.as_deref().unwrap_or_default();
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.take(namespace, (uid, &notice.reason), Instant::now())
    }
}

fn dropped(object: &ObjectReference, notice: &Notice) {
    tracing::warn!(
        namespace = object.namespace,
        object = object.name,
        reason = notice.reason,
        note = notice.note,
        "too many Events: not published"
    );
}
