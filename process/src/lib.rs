//! The parts that all programs share: arguments, logs and spans, open files, signals, listeners, the exit code. A
//! `main` parses its [`Arguments`], starts a [`Runtime`], does its work and returns [`exit_code`].

mod arguments;
mod files;
mod listen;
mod runtime;

pub use arguments::Arguments;
pub use listen::{accept, serve_admin};
pub use runtime::{BindError, Runtime, StartError, exit_code};
