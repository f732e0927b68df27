//! Layers that encoder and decoder share.

use super::DetrConfig;
use crate::models::nn::{Activation, LayerNorm, Linear, attend, merge_heads, split_heads};
use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

/// torch's default, which DETR's configuration cannot change.
const LAYER_NORM_EPS: f64 = 1e-5;

/// Loads a normalisation of the residual stream.
pub(super) fn layer_norm(
    config: &DetrConfig,
    weights: &Scope<'_>,
) -> Result<LayerNorm, WeightsError> {
    LayerNorm::new(config.d_model, LAYER_NORM_EPS, weights)
}

/// Self-attention; positions are added to queries and keys, not to values.
#[derive(Debug)]
pub(super) struct SelfAttention {
    query_key: Linear,
    value: Linear,
    output: Linear,
    heads: i64,
}

impl SelfAttention {
    pub(super) fn new(hidden: i64, heads: i64, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let query_key = [weights.at("q_proj"), weights.at("k_proj")];
        Ok(Self {
            query_key: Linear::side_by_side(true, hidden, hidden, &query_key)?,
            value: Linear::new(hidden, hidden, &weights.at("v_proj"))?,
            output: Linear::new(hidden, hidden, &weights.at("out_proj"))?,
            heads,
        })
    }

    /// Adds self-attention to `xs` `[batch, length, hidden]`.
    pub(super) fn forward_added(
        &self,
        xs: &Tensor,
        positions: &Tensor,
    ) -> Result<Tensor, TchError> {
        let query_key = self.query_key.forward(&xs.f_add(positions)?)?;
        let hidden = xs.size3()?.2;
        let split = |xs: &Tensor| split_heads(xs, self.heads);
        let context = attend(
            &split(&query_key.f_narrow(2, 0, hidden)?)?,
            &split(&query_key.f_narrow(2, hidden, hidden)?)?,
            &split(&self.value.forward(xs)?)?,
            false,
        )?;
        self.output.forward_added(&merge_heads(&context)?, xs)
    }
}

/// Two linear layers with an activation between them, applied to each place.
#[derive(Debug)]
pub(super) struct FeedForward {
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
}

impl FeedForward {
    pub(super) fn new(
        config: &DetrConfig,
        inner: i64,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let hidden = config.d_model;
        Ok(Self {
            fc1: Linear::new(hidden, inner, &weights.at("fc1"))?,
            fc2: Linear::new(inner, hidden, &weights.at("fc2"))?,
            activation: config.activation_function,
        })
    }

    /// Adds its output to `xs`.
    pub(super) fn forward_added(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        let inner = self.fc1.forward_activated(xs, self.activation)?;
        self.fc2.forward_added(&inner, xs)
    }
}
