//! DETR's encoder: post-norm transformer blocks over the places of the feature map.

use super::DetrConfig;
use super::layers::{FeedForward, SelfAttention, layer_norm};
use crate::models::nn::LayerNorm;
use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

#[derive(Debug)]
struct EncoderLayer {
    self_attn: SelfAttention,
    self_attn_layer_norm: LayerNorm,
    feed_forward: FeedForward,
    final_layer_norm: LayerNorm,
}

impl EncoderLayer {
    fn new(config: &DetrConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let (hidden, heads) = (config.d_model, config.encoder_attention_heads);
        Ok(Self {
            self_attn: SelfAttention::new(hidden, heads, &weights.at("self_attn"))?,
            self_attn_layer_norm: layer_norm(config, &weights.at("self_attn_layer_norm"))?,
            feed_forward: FeedForward::new(config, config.encoder_ffn_dim, weights)?,
            final_layer_norm: layer_norm(config, &weights.at("final_layer_norm"))?,
        })
    }

    fn forward(&self, xs: &Tensor, positions: &Tensor) -> Result<Tensor, TchError> {
        let xs = self.self_attn.forward_added(xs, positions)?;
        let xs = self.self_attn_layer_norm.forward(&xs)?;
        let xs = self.feed_forward.forward_added(&xs)?;
        self.final_layer_norm.forward(&xs)
    }
}

#[derive(Debug)]
pub(super) struct Encoder {
    layers: Vec<EncoderLayer>,
}

impl Encoder {
    /// Loads from `model.encoder`.
    pub(super) fn new(config: &DetrConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let layers = weights.at("layers");
        Ok(Self {
            layers: (0..config.encoder_layers)
                .map(|i| EncoderLayer::new(config, &layers.at(i)))
                .collect::<Result<_, _>>()?,
        })
    }

    /// `xs` `[batch, places, d_model]` with `positions` `[1, places, d_model]` to the same.
    pub(super) fn forward(&self, mut xs: Tensor, positions: &Tensor) -> Result<Tensor, TchError> {
        for layer in &self.layers {
            xs = layer.forward(&xs, positions)?;
        }
        Ok(xs)
    }
}
