//! How runners are replaced when their template changes. Pure.
//!
//! An additional runner is started before an old one is removed, so that the capacity stays the same.
//! If there is no room for it (all GPUs are in use, or a queue does not admit it), the old one is removed first, for this rollout only.

use super::message::Message;
use crate::time::later;
use jiff::Timestamp;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// `maxSurge` 1, `maxUnavailable` 0.
    Surge,
    /// `maxSurge` 0, `maxUnavailable` 1.
    Swap,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// Runners of an older template that are still there.
    pub old: u32,
    /// Runners of the new one that are ready.
    pub new_ready: u32,
    pub desired: u32,
    pub swapping: bool,
    /// Since when a runner of the new template is unschedulable or gated, and why.
    pub stuck: Option<(Timestamp, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub strategy: Strategy,
    /// When to reconcile again, unless something changes before.
    pub due: Option<Timestamp>,
    pub message: Option<Message>,
}

/// Swaps once a runner of the new template has been unschedulable for `timeout`.
pub(crate) fn decide(rollout: &Rollout, now: Timestamp, timeout: Duration) -> Decision {
    let Rollout {
        old,
        new_ready,
        desired,
        swapping,
        stuck,
    } = rollout;
    if *old == 0 {
        return Decision {
            strategy: Strategy::Surge,
            due: None,
            message: None,
        };
    }
    let due = stuck.as_ref().map(|(since, _)| later(*since, timeout));
    let progress = format!("{new_ready} of {desired} runners have been replaced");
    if *swapping || due.is_some_and(|due| due <= now) {
        let gap = if *desired <= 1 {
            "; no runner serves jobs while the new one loads its models"
        } else {
            ""
        };
        let why = stuck
            .as_ref()
            .map_or_else(String::new, |(_, why)| format!(" ({why})"));
        return Decision {
            strategy: Strategy::Swap,
            due: None,
            message: Some(Message {
                reason: "ReplacingOneByOne",
                message: format!(
                    "{progress}; there is no room for an additional runner{why}, so each old runner is removed before its replacement starts{gap}"
                ),
            }),
        };
    }
    Decision {
        strategy: Strategy::Surge,
        due,
        message: Some(Message::new("RollingOut", progress)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;

    const TIMEOUT: Duration = Duration::from_mins(1);

    fn rolling() -> Rollout {
        Rollout {
            old: 1,
            desired: 1,
            ..Rollout::default()
        }
    }

    #[test]
    fn one_more_is_started_before_an_old_one_goes() {
        let decision = decide(&rolling(), at(0), TIMEOUT);
        assert_eq!(decision.strategy, Strategy::Surge);
        assert_eq!(
            decision.message.unwrap().message,
            "0 of 1 runners have been replaced"
        );
    }

    #[test]
    fn after_a_minute_without_room_the_old_one_goes_first_and_the_message_says_so() {
        let stuck = Rollout {
            stuck: Some((at(0), "0/1 nodes: Insufficient nvidia.com/gpu".to_owned())),
            ..rolling()
        };
        let early = decide(&stuck, at(59), TIMEOUT);
        assert_eq!((early.strategy, early.due), (Strategy::Surge, Some(at(60))));
        let late = decide(&stuck, at(60), TIMEOUT);
        assert_eq!(late.strategy, Strategy::Swap);
        let message = late.message.unwrap().message;
        assert!(message.contains("Insufficient nvidia.com/gpu"), "{message}");
        assert!(message.contains("no runner serves jobs while"), "{message}");
    }

    #[test]
    fn swapping_lasts_for_the_change_and_not_beyond() {
        let swapping = Rollout {
            swapping: true,
            ..rolling()
        };
        assert_eq!(decide(&swapping, at(0), TIMEOUT).strategy, Strategy::Swap);
        let done = Rollout { old: 0, ..swapping };
        assert_eq!(decide(&done, at(0), TIMEOUT).strategy, Strategy::Surge);
    }

    #[test]
    fn a_first_runner_without_a_node_is_no_rollout() {
        let first = Rollout {
            old: 0,
            stuck: Some((at(0), String::new())),
            ..rolling()
        };
        let decision = decide(&first, at(1000), TIMEOUT);
        assert_eq!(
            (decision.strategy, decision.message),
            (Strategy::Surge, None)
        );
    }
}
