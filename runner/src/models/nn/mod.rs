//! The layers that the families share. Weights lie as in the checkpoint, or as the device wants
//! them; `forward` computes.

mod activation;
mod attention;
mod conv;
mod layers;
mod linear;
pub mod onednn;

pub use activation::Activation;
pub use attention::{attend, merge_heads, split_heads};
pub use conv::{ConvShape, FoldedConv};
pub use layers::{Embedding, LayerNorm};
pub use linear::Linear;
