//! Imports of checkpoints from a fake hub that has the hub's HTTP API, and faults.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/private.rs"]
mod tls;

mod breaks;
mod download;
mod hub;
mod imports;
mod offline;
mod private;
mod program;
mod refusals;
mod setting;
