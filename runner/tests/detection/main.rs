//! DETR against transformers, by the golden checkpoints in `tests/golden/{detr,detr-timm}`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod detr_checkpoint;
mod detr_parity;
mod golden;
