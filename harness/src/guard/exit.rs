//! How a program ended.

use std::fmt;

use nix::sys::signal::Signal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; `None` if a signal ended the program.
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

impl Exit {
    pub fn success(self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal.map(Signal::try_from)) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(Ok(signal))) => write!(f, "{signal}"),
            (None, _) => f.write_str("an unknown end"),
        }
    }
}
