//! The two resources as a real API server takes and refuses them: one control plane for all.

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
