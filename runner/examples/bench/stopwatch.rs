//! Time, of the clock and of the processors, and memory, of this process.

use anyhow::Context as _;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Instant;

/// Measures from its start on.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: Timespec,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu: clock_gettime(ClockId::ProcessCPUTime),
        }
    }

    /// Milliseconds by the clock, to a hundredth.
    pub(crate) fn wall_ms(&self) -> f64 {
        rounded(self.wall.elapsed().as_secs_f64() * 1e3)
    }

    /// Milliseconds of all processors together, to a hundredth.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of some minutes")]
    pub(crate) fn cpu_ms(&self) -> f64 {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = (now.tv_sec - self.cpu.tv_sec) as f64;
        let nanoseconds = (now.tv_nsec - self.cpu.tv_nsec) as f64;
        rounded(seconds * 1e3 + nanoseconds / 1e6)
    }
}

/// Rounds to a hundredth.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => rounded(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Quotient of two times, rounded to a hundredth.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(crate) fn ratio(of: u64, to: u64) -> f64 {
    rounded(of as f64 / to as f64)
}

/// A line of `/proc/self/status` that counts memory.
pub(crate) fn status_bytes(name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("no such line")?;
    Ok(kib.parse::<u64>()? * 1024)
}
