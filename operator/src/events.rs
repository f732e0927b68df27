//! Publishes Kubernetes Events about what a person must act on, and nothing else. Each is a write, so
//! their rate is bounded, and Events beyond it are dropped.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::num::NonZeroU32;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Upper bound on a burst of Events after a quiet time.
const BURST: NonZeroU32 = NonZeroU32::new(50).unwrap();
/// Sustained rate of Events per second.
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN;
const AT_A_TIME: usize = 8;
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
    limiter: Arc<DefaultDirectRateLimiter>,
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
            limiter: Arc::new(RateLimiter::direct(
                Quota::per_second(PER_SECOND).allow_burst(BURST),
            )),
            under_way: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Publishes a Warning about `object` in a task of its own; `action` names what was tried.
    pub(crate) fn warn(&self, object: ObjectReference, action: &str, notice: Notice) {
        let permit = Arc::clone(&self.under_way).try_acquire_owned();
        let (Ok(permit), Ok(())) = (permit, self.limiter.check()) else {
            tracing::warn!(
                object = object.name,
                ?notice,
                "too many Events: not published"
            );
            return;
        };
        let event = Event {
            type_: EventType::Warning,
            reason: notice.reason,
            note: Some(fovea_crds::clip::clip(&notice.note, MAX_NOTE_LENGTH)),
            action: action.to_owned(),
            secondary: None,
        };
        let recorder = self.recorder.clone();
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = recorder.publish(&event, &object).await {
                tracing::warn!(%error, "an Event could not be published");
            }
        });
    }
}
