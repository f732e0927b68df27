//! Bringing checkpoints, against a stand-in that speaks the hub's HTTP API and has its bad days.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what the tests share"
)]

mod breaks;
mod download;
mod hub;
mod imports;
mod offline;
mod program;
mod refusals;
mod setting;
