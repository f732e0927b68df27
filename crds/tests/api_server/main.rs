//! The two resources as a real API server takes and refuses them: one control plane for all.

#![allow(clippy::expect_used, reason = "what the tests share panics as they do")]

mod columns;
mod defaults;
mod fixture;
mod immutability;
mod kubectl_apply;
mod legal;
mod rejected;
mod samples;
mod scale;
mod status;
