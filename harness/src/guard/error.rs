//! Errors of a guardian.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How long an orderly end may take; programs have graces of their own within it.
pub(super) const END: Duration = Duration::from_mins(1);

/// A guardian could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The program is not built.
    #[error(
        "the program `fovea-guard` is not there: run `cargo build --workspace --bins` first (`make test` does), or set FOVEA_GUARD_BIN"
    )]
    NoExecutable,
    /// The user's override is wrong.
    #[error("FOVEA_GUARD_BIN names {}, where no file is", path.display())]
    Override {
        /// What it names.
        path: PathBuf,
    },
    /// A `fovea-guard` of another state of this source.
    #[error("{} was built from other sources: run `cargo build --workspace --bins`", path.display())]
    Stale {
        /// The program that was found.
        path: PathBuf,
    },
    /// It could not be started or written to.
    #[error("the guardian of the processes: {0}")]
    Io(#[from] io::Error),
    /// It has ended, or answers nothing.
    #[error("the guardian of the processes is gone")]
    Gone,
    /// It could not start a program.
    #[error("{program} could not be started: {reason}", program = program.display())]
    Refused {
        /// The program.
        program: PathBuf,
        /// Why not.
        reason: String,
    },
    /// What runs did not end in time.
    #[error("processes still run {} s after they were asked to end", END.as_secs())]
    StillRunning,
}
