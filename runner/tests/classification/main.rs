//! ViT against transformers with the golden checkpoint in `tests/golden/vit`, and TorchScript modules,
//! including detectors, against torch.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod golden;
mod modules;
mod torchscript;
mod torchscript_refused;
mod vit_checkpoint;
mod vit_parity;
