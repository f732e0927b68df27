//! The runner over real sockets: what it answers to good and bad requests, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod authorities;
mod bad_input;
mod engine;
mod harness;
mod models;
mod requests;
mod reuse;
mod shards;
mod shutdown;
mod store;
mod tls;
mod traces;
mod watchdog;
