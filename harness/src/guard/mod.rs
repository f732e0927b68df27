//! Processes that die with their parent, however it ends, and leave nothing behind.
//!
//! A *guardian* is a small process of its own (`fovea-guard guard`) that the library starts with a
//! pipe as its stdin. It starts the real programs, tells how they end, and when the pipe closes,
//! which the kernel does also for a parent that was killed, it ends them in reverse order and
//! removes their scratch folder. It is in a process group of its own, as is every program, so that a
//! Ctrl-C on the terminal reaches the parent alone and the end keeps its order. Should the guardian
//! itself be killed, the kernel kills its programs (`PR_SET_PDEATHSIG`, set by `fovea-guard exec`).

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
