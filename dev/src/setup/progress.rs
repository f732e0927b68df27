//! What a waiting user sees: spinners on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often a log without a terminal hears that a step still runs.
const STILL_EVERY: Duration = Duration::from_secs(30);

/// Tells how steps go, several at a time.
#[derive(Debug)]
pub struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    /// On stderr; spinners where that is a terminal.
    pub fn stderr() -> Self {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        Self {
            bars: terminal.then(MultiProgress::new),
        }
    }

    /// One line that stays.
    pub fn note(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.println(line).ok(),
            // A log that cannot be written is no reason to stop a build.
            None => writeln!(std::io::stderr(), "{line}").ok(),
        };
    }

    /// Runs `work`, telling that it has begun, that it still runs and how long it took.
    pub fn step<T, E>(&self, label: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let began = Instant::now();
        let result = match &self.bars {
            Some(bars) => spin(bars, label, work),
            None => self.told(label, work),
        };
        let how = if result.is_ok() { "done" } else { "failed" };
        self.note(&format!(
            "{label} ... {how} in {} s",
            began.elapsed().as_secs()
        ));
        result
    }

    fn told<T>(&self, label: &str, work: impl FnOnce() -> T) -> T {
        self.note(&format!("{label} ..."));
        let began = Instant::now();
        let (end, ended) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while ended.recv_timeout(STILL_EVERY) == Err(RecvTimeoutError::Timeout) {
                    self.note(&format!("{label} ... {} s", began.elapsed().as_secs()));
                }
            });
            let result = work();
            drop(end);
            result
        })
    }
}

fn spin<T>(bars: &MultiProgress, label: &str, work: impl FnOnce() -> T) -> T {
    let bar = bars.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    let result = work();
    bar.finish_and_clear();
    result
}
