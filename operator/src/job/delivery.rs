//! When a finished job's callback is tried, and when it is given up. Pure: time and jitter are
//! arguments.
//!
//! All of it follows from the record in `status.callback`, which is written once after each try:
//! a crash between the two repeats the try under the same webhook-id, and is not counted. So it is
//! time, not the count, that ends a callback.

use fovea_crds::{CallbackStatus, InferenceJob, MANAGER};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// Factor between one delay and the next.
const GROWTH: u32 = 4;

/// Each delay lies within this part of its length around it, so that many callbacks that failed
/// together do not come back together.
const SPREAD: f64 = 0.2;

/// Upper bound on a receiver's Retry-After.
pub const GREATEST_RETRY_AFTER: Duration = Duration::from_hours(6);

/// A try that was due in time is made up to so many windows after the job's end: an operator that
/// was down tries late rather than never, and one that crashes at each try still comes to an end.
const LATEST_WINDOWS: i32 = 2;

/// How tries are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The delay between the first try and the second.
    pub first_delay: Duration,
    /// Upper bound on the delay between two tries.
    pub greatest_delay: Duration,
    /// The time from the job's end to the last try.
    pub window: SignedDuration,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver accepted it.
    Delivered,
    /// The receiver answered 410 Gone.
    Gone,
    /// Anything else: another try may succeed.
    Failed {
        /// The cause, for the user.
        detail: String,
        /// The receiver's Retry-After.
        retry_after: Option<Duration>,
    },
}

/// What a finished job's callback needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more.
    Nothing,
    /// Nothing before this time.
    WaitUntil(Timestamp),
    /// A try.
    Try,
    /// To be recorded as given up: its time has run out.
    GiveUp,
}

/// When the next try of a finished job's callback is due; `None` where there is no callback, or it
/// has come to its end, or another controller answers for the job.
pub fn due(job: &InferenceJob) -> Option<Timestamp> {
    let (spec, status) = (&job.spec, job.status.as_ref()?);
    spec.callback.as_ref()?;
    let ours = spec.managed_by.as_deref().is_none_or(|by| by == MANAGER);
    if !ours || !status.phase.is_terminal() {
        return None;
    }
    match &status.callback {
        Some(record) if record.delivered => None,
        Some(record) if record.attempts > 0 => record.next_attempt_time.as_ref().map(|next| next.0),
        // At once, whatever the clock says.
        Some(_) | None => Some(Timestamp::UNIX_EPOCH),
    }
}

/// Whether a callback that is due at `due` still waits at `now`. A time further ahead than any wait
/// was written by a clock that has been set back since, or by a leader whose clock is ahead: it
/// says nothing.
pub fn waits(due: Timestamp, policy: &Policy, now: Timestamp) -> bool {
    let longest = policy.greatest_delay.max(GREATEST_RETRY_AFTER);
    let longest = SignedDuration::try_from(longest.saturating_mul(2));
    now < due && due <= saturating_add(now, longest.unwrap_or(SignedDuration::MAX))
}

/// Decides what a finished job's callback needs at `now`.
pub fn next(job: &InferenceJob, policy: &Policy, now: Timestamp) -> Next {
    let Some(due) = due(job) else {
        return Next::Nothing;
    };
    let latest = saturating_add(job.ended(), policy.window * LATEST_WINDOWS);
    if now >= latest {
        Next::GiveUp
    } else if waits(due, policy, now) {
        Next::WaitUntil(due.min(latest))
    } else {
        Next::Try
    }
}

/// The record after a try that ended at `now`. `jitter` in 0..1 places the delay in its spread.
pub fn after(
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
            Some("the receiver answered 410 Gone: it is not tried again".to_owned()),
        ),
        Outcome::Failed {
            detail,
            retry_after,
        } => {
            let last = saturating_add(job.ended(), policy.window);
            if now >= last {
                return ended(false, Some(out_of_time(&detail)));
            }
            let asked = retry_after.unwrap_or_default().min(GREATEST_RETRY_AFTER);
            let delay = delay_after(attempts, policy, jitter).max(asked);
            let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
            CallbackStatus {
                delivered: false,
                attempts,
                next_attempt_time: Some(Time(saturating_add(now, delay).min(last))),
                last_error: Some(detail),
            }
        }
    }
}

/// The record of a callback whose time has run out without a last try.
pub fn given_up(job: &InferenceJob) -> CallbackStatus {
    let CallbackStatus {
        delivered: _,
        attempts,
        next_attempt_time: _,
        last_error,
    } = record(job);
    let detail = last_error.unwrap_or_else(|| "the operator was not running".to_owned());
    CallbackStatus {
        delivered: false,
        // A record without an attempt is one that has not begun: this one has ended.
        attempts: attempts.max(1),
        next_attempt_time: None,
        last_error: Some(out_of_time(&detail)),
    }
}

/// The metrics' label for a recorded try.
pub fn outcome(record: &CallbackStatus) -> &'static str {
    match (record.delivered, &record.next_attempt_time) {
        (true, _) => "delivered",
        (false, Some(_)) => "failed",
        (false, None) => "given-up",
    }
}

/// Whether `found` makes writing `ours` pointless: it says as much, or more.
pub fn supersedes(found: &CallbackStatus, ours: &CallbackStatus) -> bool {
    found.delivered || (!ours.delivered && found.attempts >= ours.attempts)
}

fn record(job: &InferenceJob) -> CallbackStatus {
    let status = job.status.as_ref();
    status
        .and_then(|status| status.callback.clone())
        .unwrap_or_default()
}

fn out_of_time(detail: &str) -> String {
    // In front: the detail may be clipped.
    format!("given up, the time for tries is over; the last try failed: {detail}")
}

/// Grows from the first delay to the greatest; jitter moves it by a fifth at most.
fn delay_after(attempts: u32, policy: &Policy, jitter: f64) -> Duration {
    let factor = GROWTH.saturating_pow(attempts.saturating_sub(1));
    let delay = policy.first_delay.saturating_mul(factor);
    let spread = 1.0 + SPREAD * (2.0 * jitter.clamp(0.0, 1.0) - 1.0);
    delay.min(policy.greatest_delay).mul_f64(spread)
}

fn saturating_add(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
