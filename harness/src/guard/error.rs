//! Errors of a guardian.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Time limit for an orderly end, including the programs' grace periods.
pub(super) const END: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error(
        "the program `fovea-guard` is not there: run `cargo build --workspace --bins` first (`make test` does), or set FOVEA_GUARD_BIN"
    )]
    NoExecutable,
    #[error("FOVEA_GUARD_BIN names {}, where no file is", path.display())]
    Override { path: PathBuf },
    #[error("{} was built from other sources: run `cargo build --workspace --bins`", path.display())]
    Stale { path: PathBuf },
    #[error("the guardian of the processes: {0}")]
    Io(#[from] io::Error),
    #[error("the guardian of the processes is gone")]
    Gone,
    #[error("{program} could not be started: {reason}", program = program.display())]
    Refused { program: PathBuf, reason: String },
    #[error("processes still run {} s after they were asked to end", END.as_secs())]
    StillRunning,
}
