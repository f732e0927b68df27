//! Processes that end with their parent, even if it is killed, and leave nothing behind.
//!
//! A *guardian* is a small process (`fovea-guard guard`) that the library starts with a pipe as its stdin. It
//! starts the real programs and reports their exits. When the pipe closes, it stops them in reverse order and
//! removes their scratch folder; the kernel closes the pipe even if the parent is killed. The guardian and
//! every program have their own process group. Ctrl-C therefore reaches only the parent, and the programs
//! end in order. If the guardian is killed, the kernel kills its programs (`PR_SET_PDEATHSIG`, set by
//! `fovea-guard exec`).

mod child;
mod client;
mod error;
mod executable;
mod exit;
mod guardian;
mod protocol;

pub use child::exec;
pub use client::Guardian;
pub use error::GuardError;
pub use exit::Exit;
pub use guardian::run;

pub(crate) use client::Guarded;
pub(crate) use protocol::{Request, Spawn};
