//! What is known of the store. Pure but for the cell that holds it.

use fovea_store::{ProbeError, StoreError, StoreFault};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// What probes have found. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StoreFindings(Arc<watch::Sender<StoreState>>);

/// What is known of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreState {
    /// No probe has ended: this replica does not lead, or has just begun to.
    #[default]
    Unknown,
    /// The latest probe could not be made, for this reason, and none before has found anything.
    Unprobed(String),
    /// What answers is no S3, but this.
    NotS3(String),
    /// It answers, and is not what Fovea relies on. One with wrong lists serves single jobs.
    Faulty(StoreFault),
    /// A probe has found it as it should be, and none has found otherwise since.
    Passed,
}

impl StoreFindings {
    pub(crate) fn current(&self) -> StoreState {
        self.0.borrow().clone()
    }

    /// What is known once a probe has ended, or after this time.
    pub(crate) async fn known(&self, limit: Duration) -> StoreState {
        let mut states = self.0.subscribe();
        let ended = states.wait_for(|state| *state != StoreState::Unknown);
        let _ = timeout(limit, ended).await;
        self.current()
    }

    /// Wakes after each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<StoreState> {
        self.0.subscribe()
    }

    pub(super) fn set(&self, state: StoreState) {
        self.0.send_if_modified(|known| {
            let is_new = *known != state;
            *known = state;
            is_new
        });
    }
}

impl StoreState {
    /// Word for what is wrong, for the metric; `None` if nothing is known to be.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Unknown | Self::Unprobed(_) | Self::Passed => None,
            Self::NotS3(_) => Some("not-s3"),
            Self::Faulty(StoreFault::Lists(_)) => Some("lists"),
            Self::Faulty(StoreFault::Writes(_)) => Some("writes"),
        }
    }

    /// What is wrong, or keeps it from being known.
    pub(crate) fn complaint(&self) -> Option<String> {
        match self {
            Self::Unknown | Self::Passed => None,
            Self::Unprobed(why) => Some(why.clone()),
            Self::NotS3(answer) => Some(StoreError::NotS3(answer.clone()).to_string()),
            Self::Faulty(fault) => Some(fault.to_string()),
        }
    }

    /// Reason of the condition Degraded of pools; [`StoreState::complaint`] is its message.
    pub(crate) fn degradation(&self) -> Option<&'static str> {
        match self {
            Self::Unknown | Self::Unprobed(_) | Self::Passed => None,
            Self::NotS3(_) => Some("NotAnObjectStore"),
            Self::Faulty(StoreFault::Lists(_)) => Some(LISTS_UNRELIABLE),
            Self::Faulty(StoreFault::Writes(_)) => Some("StoreLosesWrites"),
        }
    }

    /// Why no batch is planned: it would miss pictures, or do some twice.
    pub(crate) fn refuses_batches(&self) -> Option<StoreError> {
        match self {
            Self::Unknown | Self::Unprobed(_) | Self::Passed => None,
            Self::NotS3(answer) => Some(StoreError::NotS3(answer.clone())),
            Self::Faulty(StoreFault::Lists(what)) => Some(StoreError::List(what.clone())),
            Self::Faulty(fault) => Some(StoreError::Unavailable(fault.to_string())),
        }
    }
}

/// Reason of pools whose store serves single jobs and cannot be listed.
pub(crate) const LISTS_UNRELIABLE: &str = "StoreListsUnreliable";

/// What is known after a probe with this outcome, `None` for one that took too long; and whether it was passed.
/// What a store does not answer changes nothing that is known of it.
pub(super) fn after(
    before: &StoreState,
    outcome: Option<Result<(), ProbeError>>,
) -> (StoreState, bool) {
    let unprobed = |why: String| match before {
        StoreState::Unknown | StoreState::Unprobed(_) => StoreState::Unprobed(why),
        known => known.clone(),
    };
    let state = match outcome {
        Some(Ok(())) => return (StoreState::Passed, true),
        Some(Err(ProbeError::Fault(fault))) => StoreState::Faulty(fault),
        Some(Err(ProbeError::Store(StoreError::NotS3(answer)))) => StoreState::NotS3(answer),
        Some(Err(error)) => unprobed(error.to_string()),
        None => unprobed("the object store could not be probed in time".to_owned()),
    };
    (state, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists() -> Result<(), ProbeError> {
        Err(StoreFault::Lists("they repeat \"a\"".to_owned()).into())
    }

    #[test]
    fn only_a_probe_that_was_passed_says_that_the_store_is_well() {
        let down = || Some(Err(ProbeError::Store(StoreError::TimedOut)));
        let (state, passed) = after(&StoreState::Unknown, Some(Ok(())));
        assert_eq!((state, passed), (StoreState::Passed, true));
        for outcome in [Some(lists()), down(), None] {
            let (state, passed) = after(&StoreState::Unknown, outcome);
            assert!(!passed && state != StoreState::Passed, "{state:?}");
            assert!(state.complaint().is_some());
        }
        let (lists, _) = after(&StoreState::Passed, Some(lists()));
        assert_eq!(lists.fault(), Some("lists"));
        assert!(
            lists
                .complaint()
                .is_some_and(|why| why.contains("repeat \"a\""))
        );
        // An outage takes back nothing and forgives nothing.
        assert_eq!(after(&lists, down()), (lists.clone(), false));
        assert_eq!(after(&lists, None), (lists.clone(), false));
        let passed = after(&StoreState::Passed, down());
        assert_eq!(passed, (StoreState::Passed, false));
        assert_eq!(after(&lists, Some(Ok(()))).0, StoreState::Passed);
    }

    #[test]
    fn a_store_that_is_no_s3_is_told_from_one_that_is_down() {
        let page = || StoreError::NotS3("200, text/html".to_owned());
        let (state, _) = after(&StoreState::Passed, Some(Err(page().into())));
        assert_eq!(state.fault(), Some("not-s3"));
        assert_eq!(state.degradation(), Some("NotAnObjectStore"));
        assert!(
            state
                .complaint()
                .is_some_and(|why| why.contains("text/html"))
        );
    }

    #[test]
    fn batches_wait_only_for_a_store_that_is_known_to_be_wrong() {
        for state in [
            StoreState::Unknown,
            StoreState::Unprobed("denied".to_owned()),
            StoreState::Passed,
        ] {
            assert!(state.refuses_batches().is_none(), "{state:?}");
            assert!(state.degradation().is_none(), "{state:?}");
        }
        let (lists, _) = after(&StoreState::Unknown, Some(lists()));
        assert!(matches!(lists.refuses_batches(), Some(StoreError::List(_))));
    }
}
