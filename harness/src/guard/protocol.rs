//! The protocol of a guardian and its parent: JSON lines, requests on the guardian's stdin and events on its
//! stdout. The end of the requests ends everything.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Both sides must be built from the same protocol; a changed one gets the next number.
pub(crate) const PROTOCOL: u32 = 1;

/// A program to start, under an id of the parent's choice.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spawn {
    pub(crate) id: u64,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// File to which stdout and stderr are appended.
    pub(crate) log: PathBuf,
    /// Time to end after SIGTERM; 0 kills at once.
    pub(crate) grace_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Spawn(Spawn),
    /// Sends a signal by number, to the program alone.
    Signal {
        id: u64,
        signal: i32,
    },
    /// Ends a program: SIGTERM, then SIGKILL after its grace.
    Stop {
        id: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    Ready {
        protocol: u32,
        scratch: PathBuf,
    },
    Spawned {
        id: u64,
        pid: u32,
    },
    Refused {
        id: u64,
        reason: String,
    },
    /// A program has ended by itself or by a signal, and has been reaped.
    Exited {
        id: u64,
        code: Option<i32>,
        signal: Option<i32>,
    },
}
