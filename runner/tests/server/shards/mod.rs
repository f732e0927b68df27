//! Shards of batches, as an operator and a store see them.

mod archives;
mod bucket;
mod ends;
mod formats;
mod operator;
mod pictures;
mod refusals;
mod reuse;
