//! Which changes of a job's status need a person to act, and so get an Event. Pure.

use crate::events::Notice;
use fovea_crds::conditions::{self, ACCEPTED};
use fovea_crds::{InferenceJobStatus, Phase};

/// Reasons of failures of the installation. Failures caused by the job's own picture, parameters or
/// deadlines appear in its status alone.
const OF_THE_INSTALLATION: [&str; 6] = [
    "InvalidRunnerAnswer",
    "OutOfMemory",
    "QueueDeadlineExceeded",
    "ResultNotStored",
    "ResultRejected",
    "RunnerLost",
];

/// The Event for the step from `before` to `after`; none for a job that succeeds.
pub(crate) fn notice(
    before: Option<&InferenceJobStatus>,
    after: &InferenceJobStatus,
) -> Option<Notice> {
    let refusal = |status: &InferenceJobStatus| {
        conditions::get(&status.conditions, ACCEPTED)
            .filter(|accepted| accepted.status == "False")
            .map(|accepted| Notice {
                reason: accepted.reason.clone(),
                note: accepted.message.clone(),
            })
    };
    if after.phase == Phase::Failed {
        let failure = after.failure.as_ref()?;
        let reported = OF_THE_INSTALLATION.contains(&failure.reason.as_str());
        return reported.then(|| Notice {
            reason: failure.reason.clone(),
            note: failure.message.clone(),
        });
    }
    // Words change, such as the pools that a message lists; what is to be done does not.
    let known = before.and_then(refusal).map(|known| known.reason);
    refusal(after).filter(|now| known.as_ref() != Some(&now.reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::Failure;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    fn refused(reason: &str) -> InferenceJobStatus {
        InferenceJobStatus {
            conditions: vec![Condition {
                type_: ACCEPTED.to_owned(),
                status: "False".to_owned(),
                reason: reason.to_owned(),
                message: "there is none".to_owned(),
                last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
                observed_generation: None,
            }],
            ..InferenceJobStatus::default()
        }
    }

    fn failed(reason: &str) -> InferenceJobStatus {
        InferenceJobStatus {
            phase: Phase::Failed,
            failure: Some(Failure {
                reason: reason.to_owned(),
                message: String::new(),
                retryable: false,
            }),
            ..InferenceJobStatus::default()
        }
    }

    #[test]
    fn a_refusal_is_reported_once_until_it_changes() {
        let (none, other) = (refused("PoolNotFound"), refused("PoolNotAllowed"));
        assert_eq!(notice(None, &none).unwrap().reason, "PoolNotFound");
        assert_eq!(notice(Some(&none), &none), None);
        assert!(notice(Some(&none), &other).is_some());
        let mut reworded = none.clone();
        reworded.conditions[0].message = "there is none yet".to_owned();
        assert_eq!(notice(Some(&none), &reworded), None);
    }

    #[test]
    fn only_failures_of_the_installation_are_reported_and_no_successes() {
        assert!(notice(None, &failed("RunnerLost")).is_some());
        assert_eq!(notice(None, &failed("InvalidPicture")), None);
        let succeeded = InferenceJobStatus {
            phase: Phase::Succeeded,
            ..InferenceJobStatus::default()
        };
        assert_eq!(notice(None, &succeeded), None);
    }
}
