//! Schedule of a finished job's callback: when to attempt it, and when to give up. Pure: time and
//! jitter are arguments.
//!
//! The record in `status.callback` is the only state. It is written once after each attempt; a crash
//! between the two repeats the attempt under the same webhook-id without counting it. Therefore a time
//! limit ends a callback, and not a number of attempts.

use crate::time::later;
use fovea_crds::{CallbackStatus, InferenceJob, MANAGER};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// Factor between one delay and the next.
const GROWTH: u32 = 4;

/// Jitter of each delay, as a fraction of it: callbacks that failed together are retried at different
/// times.
const SPREAD: f64 = 0.2;

/// Upper bound on a receiver's Retry-After.
pub(crate) const GREATEST_RETRY_AFTER: Duration = Duration::from_hours(6);

/// Latest attempt after the job's end, in windows. An operator that was down may still attempt a due
/// callback late; one that crashes at each attempt still gives up eventually.
const LATEST_WINDOWS: i32 = 2;

/// Delays between attempts, and the time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub first_delay: Duration,
    pub greatest_delay: Duration,
    /// Time from the job's end to the last attempt.
    pub window: SignedDuration,
}

/// Result of an attempt to deliver a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Gone,
    /// Any other error: another attempt may succeed.
    Failed {
        /// Cause of the failure, shown in `status.callback.lastError`.
        detail: String,
        /// Value of the receiver's Retry-After header.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        let (detail, retry_after) = (detail.into(), None);
        Self::Failed {
            detail,
            retry_after,
        }
    }
}

/// Next step for a finished job's callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// No step: there is no callback, or it is delivered or given up.
    Nothing,
    WaitUntil(Timestamp),
    Try,
    /// Record it as given up: its time limit is over.
    GiveUp,
}

/// Time of the next attempt at a finished job's callback; `None` if there is no callback, it is
/// delivered or given up, or another controller manages the job.
pub(crate) fn due(job: &InferenceJob) -> Option<Timestamp> {
    let (spec, status) = (&job.spec, job.status.as_ref()?);
    spec.callback.as_ref()?;
    let ours = spec.managed_by.as_deref().is_none_or(|by| by == MANAGER);
    if !ours || !status.phase.is_terminal() {
        return None;
    }
    match &status.callback {
        Some(record) if record.delivered => None,
        Some(record) if record.attempts > 0 => record.next_attempt_time.as_ref().map(|next| next.0),
        // Immediately, whatever the clock shows.
        Some(_) | None => Some(Timestamp::UNIX_EPOCH),
    }
}

/// Whether a callback that is due at `due` still waits at `now`. A time further ahead than the longest
/// delay is ignored: the clock was set back since, or another leader's clock was ahead.
pub(crate) fn waits(due: Timestamp, policy: &Policy, now: Timestamp) -> bool {
    let longest = policy.greatest_delay.max(GREATEST_RETRY_AFTER);
    let longest = SignedDuration::try_from(longest.saturating_mul(2));
    now < due && due <= later(now, longest.unwrap_or(SignedDuration::MAX))
}

/// Decides the next step for a finished job's callback at `now`.
pub(crate) fn next(job: &InferenceJob, policy: &Policy, now: Timestamp) -> Next {
    let Some(due) = due(job) else {
        return Next::Nothing;
    };
    let latest = later(job.ended(), policy.window * LATEST_WINDOWS);
    if now >= latest {
        Next::GiveUp
    } else if waits(due, policy, now) {
        Next::WaitUntil(due.min(latest))
    } else {
        Next::Try
    }
}

/// The record after an attempt that ended at `now`. `jitter` is in 0..1.
pub(crate) fn after(
    job: &InferenceJob,
    outcome: Outcome,
    policy: &Policy,
    now: Timestamp,
    jitter: f64,
) -> CallbackStatus {
    let before = record(job);
    let attempts = before.attempts.saturating_add(1);
    let ended = |delivered, last_error| CallbackStatus {
        delivered,
        attempts,
        next_attempt_time: None,
        last_error,
    };
    match outcome {
        Outcome::Delivered => ended(true, before.last_error),
        Outcome::Gone => ended(
            false,
            Some("the receiver answered 410 Gone: no further attempt is made".to_owned()),
        ),
        Outcome::Failed {
            detail,
            retry_after,
        } => {
            let last = later(job.ended(), policy.window);
            if now >= last {
                return ended(false, Some(out_of_time(&detail)));
            }
            let requested = retry_after.unwrap_or_default().min(GREATEST_RETRY_AFTER);
            let delay = delay_after(attempts, policy, jitter).max(requested);
            let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
            CallbackStatus {
                delivered: false,
                attempts,
                next_attempt_time: Some(Time(later(now, delay).min(last))),
                last_error: Some(detail),
            }
        }
    }
}

/// The record of a callback whose time limit passed without a last attempt.
pub(crate) fn given_up(job: &InferenceJob) -> CallbackStatus {
    let CallbackStatus {
        delivered: _,
        attempts,
        next_attempt_time: _,
        last_error,
    } = record(job);
    let detail = last_error.unwrap_or_else(|| "the operator was not running".to_owned());
    CallbackStatus {
        delivered: false,
        // 0 attempts would mean that the callback is still due.
        attempts: attempts.max(1),
        next_attempt_time: None,
        last_error: Some(out_of_time(&detail)),
    }
}

/// The metrics' label for a recorded attempt.
pub(crate) fn outcome(record: &CallbackStatus) -> &'static str {
    match (record.delivered, &record.next_attempt_time) {
        (true, _) => "delivered",
        (false, Some(_)) => "failed",
        (false, None) => "given-up",
    }
}

/// Whether `found` is at least as recent as `ours`, so that `ours` need not be written.
pub(crate) fn supersedes(found: &CallbackStatus, ours: &CallbackStatus) -> bool {
    found.delivered || (!ours.delivered && found.attempts >= ours.attempts)
}

fn record(job: &InferenceJob) -> CallbackStatus {
    let status = job.status.as_ref();
    status
        .and_then(|status| status.callback.clone())
        .unwrap_or_default()
}

fn out_of_time(detail: &str) -> String {
    // The detail comes last because it may be clipped.
    format!("given up: the time for attempts is over; the last attempt failed: {detail}")
}

/// The delay after this many attempts: exponential, up to the greatest delay, plus or minus jitter.
fn delay_after(attempts: u32, policy: &Policy, jitter: f64) -> Duration {
    let factor = GROWTH.saturating_pow(attempts.saturating_sub(1));
    let delay = policy.first_delay.saturating_mul(factor);
    let spread = 1.0 + SPREAD * (2.0 * jitter.clamp(0.0, 1.0) - 1.0);
    delay.min(policy.greatest_delay).mul_f64(spread)
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
