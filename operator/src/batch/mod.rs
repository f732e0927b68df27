//! Batches: many pictures in one job.

pub(crate) mod finish;
pub(crate) mod plan;
#[cfg(test)]
mod store_tests;
