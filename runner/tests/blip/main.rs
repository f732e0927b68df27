//! BLIP against transformers, by the golden checkpoint in `tests/golden/blip`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod checkpoint;
mod parity;
