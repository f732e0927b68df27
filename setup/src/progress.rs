//! Progress on stderr, one line per event: build output and other steps may write in between.

use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Interval between two lines about a step that still runs.
const STILL_EVERY: Duration = Duration::from_secs(30);

/// Writes a line to standard error.
pub fn note(line: &str) {
    // A log that cannot be written is no reason to stop a build.
    writeln!(std::io::stderr(), "{line}").ok();
}

/// Runs `work`, and reports its start, that it still runs, and how long it took.
pub fn step<T, E>(label: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    note(&format!("{label} ..."));
    let began = Instant::now();
    let (end, ended) = mpsc::channel::<()>();
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(STILL_EVERY) == Err(RecvTimeoutError::Timeout) {
                note(&format!("{label} ... {} s", began.elapsed().as_secs()));
            }
        });
        let result = work();
        drop(end);
        result
    });
    let how = if result.is_ok() { "done" } else { "failed" };
    let seconds = began.elapsed().as_secs();
    note(&format!("{label} ... {how} in {seconds} s"));
    result
}
