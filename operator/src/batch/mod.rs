//! Batches: what is to be done, what is done, and what follows. The dispatcher runs them.

pub(crate) mod above;
pub(crate) mod finish;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod rate;
#[cfg(test)]
mod store_tests;
