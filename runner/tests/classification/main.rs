//! The classifiers, and what else is no captioner: ViT against transformers by the golden checkpoint
//! in `tests/golden/vit`, and TorchScript modules, detectors among them, against torch.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what the tests share"
)]

#[path = "../support/mod.rs"]
mod support;

mod golden;
mod modules;
mod torchscript;
mod torchscript_refused;
mod vit_checkpoint;
mod vit_parity;
