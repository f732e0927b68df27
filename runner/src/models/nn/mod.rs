//! The layers that the families share. A layer stores its weights as in the checkpoint, or in the layout
//! that is fastest on the device; `forward` computes.

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
