//! The least rate at which a client has to move bytes, in windows of the time that is spent waiting for it. Time in which
//! the service itself is busy does not count against the client.

use std::time::Duration;

/// The least rate, averaged over a window. A rate of 0 asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MinRate {
    pub(crate) bytes_per_second: u64,
    pub(crate) window: Duration,
}

impl MinRate {
    fn is_met(self, bytes: u64) -> bool {
        let window_ms = u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX);
        bytes >= self.bytes_per_second.saturating_mul(window_ms) / 1000
    }
}

/// A client moved fewer bytes in a window than it has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

/// The pace of one client. The first window is its grace period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    least: MinRate,
    bytes: u64,
    waited: Duration,
}

impl Pace {
    pub(crate) fn new(least: MinRate) -> Self {
        Self {
            least,
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// The rest of the window: call [`Self::moved`] after so much waiting, also without a byte.
    pub(crate) fn rest(&self) -> Duration {
        self.least.window.saturating_sub(self.waited)
    }

    /// Counts bytes and the time that was spent waiting for them.
    pub(crate) fn moved(&mut self, bytes: usize, waited: Duration) -> Result<(), TooSlow> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.waited = self.waited.saturating_add(waited);
        if self.waited < self.least.window {
            return Ok(());
        }
        let is_met = self.least.is_met(self.bytes);
        *self = Self::new(self.least);
        if is_met { Ok(()) } else { Err(TooSlow) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEAST: MinRate = MinRate {
        bytes_per_second: 10,
        window: Duration::from_secs(20),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_window_with_too_few_bytes_ends_a_client_s_time() {
        let mut pace = Pace::new(LEAST);
        assert_eq!(pace.moved(0, seconds(19)), Ok(()));
        assert_eq!(pace.rest(), seconds(1));
        assert_eq!(pace.moved(199, seconds(1)), Err(TooSlow));
        assert_eq!(Pace::new(LEAST).moved(200, seconds(20)), Ok(()));
    }

    #[test]
    fn what_one_window_has_too_much_does_not_count_in_the_next() {
        let mut pace = Pace::new(LEAST);
        assert_eq!(pace.moved(1_000_000, seconds(20)), Ok(()));
        assert_eq!(pace.moved(100, seconds(20)), Err(TooSlow));
    }

    #[test]
    fn a_rate_of_0_asks_for_nothing() {
        let mut pace = Pace::new(MinRate {
            bytes_per_second: 0,
            ..LEAST
        });
        assert_eq!(pace.moved(0, seconds(1000)), Ok(()));
    }

    proptest! {
        #[test]
        fn a_client_at_twice_the_rate_is_never_too_slow(pauses in proptest::collection::vec(1..5_000_u64, 1..200)) {
            let mut pace = Pace::new(LEAST);
            for pause_ms in pauses {
                let bytes = usize::try_from(pause_ms / 50).unwrap() + 1;
                prop_assert_eq!(pace.moved(bytes, Duration::from_millis(pause_ms)), Ok(()));
            }
        }

        #[test]
        fn a_client_at_half_the_rate_is_too_slow_within_two_windows(pause_ms in 200..5_000_u64) {
            let mut pace = Pace::new(LEAST);
            let bytes = usize::try_from(pause_ms / 200).unwrap();
            let mut waited = Duration::ZERO;
            while pace.moved(bytes, Duration::from_millis(pause_ms)).is_ok() {
                waited += Duration::from_millis(pause_ms);
                prop_assert!(waited < 2 * LEAST.window);
            }
        }
    }
}
