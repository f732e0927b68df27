//! The number of tries of a request, and the waits between them.

use backon::{BackoffBuilder as _, ExponentialBuilder};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Upper bound on consecutive tries without progress, the first included; received bytes reset
    /// the count.
    pub max_idle_tries: u32,
    /// Upper bound on all tries.
    pub max_tries: u32,
    /// Wait after the first try; it doubles with each.
    pub first_wait: Duration,
    /// Upper bound on that wait.
    pub longest_wait: Duration,
    /// Upper bound on `Retry-After`; a longer one is an error.
    pub longest_retry_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_idle_tries: 6,
            max_tries: 100,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
            longest_retry_after: Duration::from_mins(5),
        }
    }
}

/// The decision after a failed try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// Try again after this wait.
    Wait(Duration),
    /// Give up: the tries are used up.
    GiveUp,
    /// Give up: `Retry-After` exceeds the bound.
    RetryAfterTooLong(Duration),
}

#[derive(Clone, Copy, Debug, Default)]
pub(in crate::import) struct Tries {
    all: u32,
    idle: u32,
}

impl Tries {
    /// Counts a failed try; `progressed` if it received bytes.
    pub(in crate::import) fn count(&mut self, progressed: bool) {
        self.all += 1;
        self.idle = if progressed { 1 } else { self.idle + 1 };
    }

    pub(super) fn all(self) -> u32 {
        self.all
    }
}

impl Retry {
    /// Decides after `tries`; `retry_after` is the server's `Retry-After`, `jitter` is between 0 and 1.
    pub(super) fn next(self, tries: Tries, retry_after: Option<Duration>, jitter: f64) -> Next {
        if tries.idle >= self.max_idle_tries || tries.all >= self.max_tries {
            return Next::GiveUp;
        }
        match retry_after {
            Some(retry_after) if retry_after > self.longest_retry_after => {
                Next::RetryAfterTooLong(retry_after)
            }
            Some(retry_after) => Next::Wait(retry_after),
            None => {
                let mut waits = ExponentialBuilder::new()
                    .with_min_delay(self.first_wait)
                    .with_max_delay(self.longest_wait)
                    .without_max_times()
                    .build();
                let wait = waits.nth(tries.idle.saturating_sub(1) as usize);
                let wait = wait.unwrap_or(self.longest_wait).min(self.longest_wait);
                // At least half; the rest is random, so that clients do not retry together.
                Next::Wait(wait.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        max_idle_tries: 4,
        max_tries: 10,
        first_wait: Duration::from_secs(1),
        longest_wait: Duration::from_secs(3),
        longest_retry_after: Duration::from_mins(1),
    };

    fn after(idle: u32, progressed: u32) -> Tries {
        let mut tries = Tries::default();
        (0..progressed).for_each(|_| tries.count(true));
        (0..idle).for_each(|_| tries.count(false));
        tries
    }

    #[test]
    fn waits_double_up_to_their_bound_and_at_most_half_is_chance() {
        let waits = |jitter| [1, 2, 3].map(|idle| RETRY.next(after(idle, 0), None, jitter));
        let millis = |waits: [u64; 3]| waits.map(|ms| Next::Wait(Duration::from_millis(ms)));
        assert_eq!(waits(1.0), millis([1000, 2000, 3000]));
        assert_eq!(waits(0.0), millis([500, 1000, 1500]));
    }

    #[test]
    fn tries_are_bounded_without_progress_and_in_total() {
        assert_eq!(RETRY.next(after(4, 0), None, 0.5), Next::GiveUp);
        assert_ne!(RETRY.next(after(0, 9), None, 0.5), Next::GiveUp);
        assert_eq!(RETRY.next(after(0, 10), None, 0.5), Next::GiveUp);
        assert_eq!(RETRY.next(after(3, 1), None, 0.5), Next::GiveUp);
    }

    #[test]
    fn retry_after_is_respected_up_to_a_bound() {
        let retry_after =
            |seconds| RETRY.next(after(1, 0), Some(Duration::from_secs(seconds)), 0.0);
        assert_eq!(retry_after(60), Next::Wait(Duration::from_mins(1)));
        assert_eq!(
            retry_after(61),
            Next::RetryAfterTooLong(Duration::from_secs(61))
        );
    }
}
