//! The layers that the families share. Weights lie as in the checkpoint; `forward` computes.

mod activation;
mod attention;
mod layers;
mod linear;
mod onednn;

pub use activation::Activation;
pub use attention::{attend, merge_heads, split_heads};
pub use layers::{Embedding, LayerNorm};
pub use linear::Linear;
