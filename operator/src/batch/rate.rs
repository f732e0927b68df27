//! The rate of a batch, and when it will be done. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time over which the rate is averaged.
const WINDOW: Duration = Duration::from_mins(1);

/// Least time that a rate is averaged over.
const SHORTEST: Duration = Duration::from_secs(2);

/// Pictures done at recent times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    seen: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Records how many pictures are done at `now`.
    pub(crate) fn see(&mut self, done: u64, now: Instant) {
        self.seen.push_back((now, done));
        while (self.seen.get(1)).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.seen.pop_front();
        }
    }

    /// Pictures per second; `None` until it is known.
    #[allow(clippy::cast_precision_loss, reason = "a rate is no exact number")]
    pub(crate) fn per_second(&self) -> Option<f64> {
        let ((first, before), (last, done)) = (self.seen.front()?, self.seen.back()?);
        let took = last.duration_since(*first);
        // A lost attempt takes its pictures back.
        (took >= SHORTEST).then(|| done.saturating_sub(*before) as f64 / took.as_secs_f64())
    }

    /// Time in which `left` pictures are done at this rate.
    #[allow(clippy::cast_precision_loss, reason = "a rate is no exact number")]
    pub(crate) fn remaining(&self, left: u64) -> Option<Duration> {
        let rate = self.per_second().filter(|rate| *rate > 0.0)?;
        Duration::try_from_secs_f64(left as f64 / rate).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_minute() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.per_second(), None);
        for second in 0..200 {
            let done = if second < 100 { 0 } else { (second - 100) * 10 };
            rate.see(done, start + Duration::from_secs(second));
        }
        assert!((rate.per_second().unwrap() - 10.0).abs() < 1e-9);
        assert_eq!(rate.remaining(600), Some(Duration::from_mins(1)));
        assert!(rate.seen.len() <= 62);
    }

    #[test]
    fn pictures_that_a_lost_runner_takes_back_give_no_negative_rate() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.see(50, start);
        rate.see(10, start + Duration::from_secs(10));
        assert_eq!(rate.per_second(), Some(0.0));
        assert_eq!(rate.remaining(1), None);
    }
}
