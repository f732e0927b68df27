//! The layers that the families share. Weights lie as in the checkpoint; `forward` computes.

mod activation;
mod attention;
mod conv;
mod layers;
pub mod onednn;

pub use activation::Activation;
pub use attention::{attend, merge_heads, split_heads};
pub use conv::{ConvShape, FoldedConv};
pub use layers::{Embedding, LayerNorm, Linear};
