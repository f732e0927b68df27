//! How runners are replaced when their template changes. Pure.
//!
//! One more runner is started before an old one goes, so that no place is ever empty. Where no node
//! has room for one more (the GPUs are all taken), an old one goes first, for this change only.

use super::message::Message;
use jiff::Timestamp;
use std::time::Duration;

/// What the Deployment is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// One more at a time, none fewer.
    Surge,
    /// One fewer at a time, none more.
    Swap,
}

/// A change as it is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// Runners of an older template that are still there.
    pub old: u32,
    /// Runners of the new one that are ready.
    pub new_ready: u32,
    /// Runners that there should be.
    pub desired: u32,
    /// The Deployment swaps already.
    pub swapping: bool,
    /// Since when a runner of the new template finds no node, and the scheduler's words.
    pub stuck: Option<(Timestamp, String)>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// What to tell the Deployment.
    pub strategy: Strategy,
    /// When to look again, where nothing else will say so.
    pub due: Option<Timestamp>,
    /// The progress, for the pool's status.
    pub message: Option<Message>,
}

/// After `timeout` without a node, an old runner goes first.
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
    let due = stuck
        .as_ref()
        .map(|(since, _)| since.checked_add(timeout).unwrap_or(Timestamp::MAX));
    let progress = format!("{new_ready} of {desired} runners have been replaced");
    if *swapping || due.is_some_and(|due| due <= now) {
        let gap = if *desired <= 1 {
            "; there is none while the new one loads its models"
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
                    "{progress}; no node had room for one more{why}, so that an old runner goes before a new one comes{gap}"
                ),
            }),
        };
    }
    Decision {
        strategy: Strategy::Surge,
        due,
        message: Some(Message {
            reason: "RollingOut",
            message: progress,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

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
    fn after_a_minute_without_a_node_the_old_one_goes_first_and_the_gap_is_told() {
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
        assert!(message.contains("there is none while"), "{message}");
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
