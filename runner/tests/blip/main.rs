//! BLIP against transformers, by the golden checkpoint in `tests/golden/blip`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what the tests share"
)]

#[path = "../support/mod.rs"]
mod support;

mod checkpoint;
mod parity;
