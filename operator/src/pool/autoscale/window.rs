//! The maximum over a sliding time window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Numbers within this fraction of the window are kept as one: their maximum, until the latest of them is
/// too old.
const PARTS: u32 = 60;

/// Remembers at most [`PARTS`] + 1 numbers.
#[derive(Clone, Debug)]
pub(super) struct Highest {
    over: Duration,
    parts: VecDeque<Part>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    begin: Instant,
    end: Instant,
    highest: u32,
}

impl Highest {
    pub(super) fn over(over: Duration) -> Self {
        Self {
            over,
            parts: VecDeque::new(),
        }
    }

    /// Adds a number; times must not go back.
    pub(super) fn note(&mut self, number: u32, now: Instant) {
        self.forget(now);
        match self.parts.back_mut() {
            Some(part) if now.saturating_duration_since(part.begin) < self.over / PARTS => {
                part.end = now;
                part.highest = part.highest.max(number);
            }
            _ => self.parts.push_back(Part {
                begin: now,
                end: now,
                highest: number,
            }),
        }
    }

    /// The maximum in the window before `now`; 0 if it is empty.
    pub(super) fn highest(&mut self, now: Instant) -> u32 {
        self.forget(now);
        let highest = self.parts.iter().map(|part| part.highest).max();
        highest.unwrap_or(0)
    }

    fn forget(&mut self, now: Instant) {
        let over = self.over;
        let old = |part: &Part| now.saturating_duration_since(part.end) > over;
        while self.parts.front().is_some_and(old) {
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_within_the_window_only() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut window = Highest::over(Duration::from_mins(5));
        assert_eq!(window.highest(at(0)), 0);
        window.note(7, at(0));
        window.note(3, at(100));
        assert_eq!(window.highest(at(300)), 7);
        assert_eq!(window.highest(at(301)), 3);
        assert_eq!(window.highest(at(401)), 0);
    }

    #[test]
    fn the_memory_is_bounded_by_its_parts() {
        let begin = Instant::now();
        let mut window = Highest::over(Duration::from_mins(5));
        for tenths in 0..10_000 {
            window.note(tenths, begin + Duration::from_millis(100) * tenths);
            assert!(window.parts.len() <= PARTS as usize + 1);
        }
    }
}
