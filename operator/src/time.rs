//! The time: the API server's, whatever the machine's clock says.

use fovea_cluster::ClusterClock;
use jiff::{Timestamp, TimestampArithmetic};
use std::sync::LazyLock;
use std::time::SystemTime;

/// The operator's clock in messages.
pub(crate) const OUR_CLOCK: &str = "the API server's clock";

static CLOCK: LazyLock<ClusterClock> = LazyLock::new(ClusterClock::default);

/// The process's clock, which the layer of its client corrects.
pub fn clock() -> &'static ClusterClock {
    &CLOCK
}

/// The API server's time.
pub(crate) fn now() -> Timestamp {
    Timestamp::try_from(system_now()).unwrap_or(Timestamp::MAX)
}

/// As [`now`].
pub fn system_now() -> SystemTime {
    CLOCK.now()
}

/// The time `wait` after `time`; [`Timestamp::MAX`] on overflow.
pub(crate) fn later(time: Timestamp, wait: impl Into<TimestampArithmetic>) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}
