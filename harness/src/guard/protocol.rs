//! The protocol of a guardian and its parent: JSON lines, requests on the guardian's stdin and events on its
//! stdout. When stdin ends, the guardian ends everything.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Version of the protocol, which both sides must share. Increment it with every change.
pub(crate) const PROTOCOL: u32 = 1;

/// A program to start, with an id that the parent chooses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spawn {
    pub(crate) id: u64,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// File that stdout and stderr are appended to.
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
    /// Ends a program with SIGTERM and, after its grace period, with SIGKILL.
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
