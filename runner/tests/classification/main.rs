//! The classifiers: ViT against transformers, by the golden checkpoint in `tests/golden/vit`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what the tests share"
)]

#[path = "../support/mod.rs"]
mod support;

mod golden;
mod vit_checkpoint;
mod vit_parity;
