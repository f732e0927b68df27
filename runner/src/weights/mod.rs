//! A checkpoint's tensors, read from disk one at a time.

mod error;
mod safetensors;

pub use error::WeightsError;
pub use safetensors::{Scope, Weights};
