//! Residual networks and DETR against transformers, by the golden checkpoints in
//! `tests/golden/{resnet,resnet-basic,detr,detr-timm}`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod detr_checkpoint;
mod detr_parity;
mod golden;
mod resnet_checkpoint;
mod resnet_parity;
