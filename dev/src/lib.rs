//! The commands of `make`: generated files of the chart and the docs, and releases. Tools come from
//! `fovea-setup`, clusters and Fovea's own programs from `fovea-harness`.

#![allow(
    missing_docs,
    reason = "only the program `fovea-dev` and tests use this library"
)]

pub mod chart;
pub mod docs;
pub mod release;
