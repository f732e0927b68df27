//! Arithmetic of timestamps.

use jiff::{Timestamp, TimestampArithmetic};

/// The time `wait` after `time`; [`Timestamp::MAX`] on overflow.
pub(crate) fn later(time: Timestamp, wait: impl Into<TimestampArithmetic>) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}
