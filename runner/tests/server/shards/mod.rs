//! Shards of batches, as an operator and a store see them.

mod bucket;
mod ends;
mod operator;
mod pictures;
mod refusals;
