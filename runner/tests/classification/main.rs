//! ViT and residual networks against transformers, by the golden checkpoints in
//! `tests/golden/{vit,resnet,resnet-basic}`; and TorchScript modules, including detectors, against
//! torch.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod modules;
mod resnet_checkpoint;
mod resnet_golden;
mod resnet_parity;
mod torchscript;
mod torchscript_refused;
mod vit_checkpoint;
mod vit_golden;
mod vit_parity;
