//! Weights files of every format: their tensors, and errors for faulty files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

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
