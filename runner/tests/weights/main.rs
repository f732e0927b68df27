//! Weights files of every format: what is in them comes out, and what is wrong with one is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what the tests share"
)]

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod formats;
mod hostile_archives;
mod hostile_pickles;
mod lists;
mod peak;
mod pickle;
mod pytorch;
