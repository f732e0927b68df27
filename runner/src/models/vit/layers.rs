//! ViT's blocks: pre-norm, with query, key and value projected at once.

use super::VitConfig;
use super::names::LayerNames;
use crate::models::nn::{Activation, LayerNorm, Linear, attend, merge_heads, split_heads};
use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

/// Patches by a strided convolution, a class token before them, learned positions.
#[derive(Debug)]
pub(super) struct VitEmbeddings {
    cls_token: Tensor,
    patch_weight: Tensor,
    patch_bias: Tensor,
    position_embeddings: Tensor,
    patch_size: [i64; 2],
}

impl VitEmbeddings {
    pub(super) fn new(config: &VitConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let (hidden, [height, width]) = (config.hidden_size, config.patch_size.both());
        let projection = weights.at("patch_embeddings.projection");
        Ok(Self {
            cls_token: weights.tensor("cls_token", &[1, 1, hidden])?,
            patch_weight: projection.tensor("weight", &[hidden, 3, height, width])?,
            patch_bias: projection.tensor("bias", &[hidden])?,
            position_embeddings: weights
                .tensor("position_embeddings", &[1, config.positions(), hidden])?,
            patch_size: [height, width],
        })
    }

    pub(super) fn forward(&self, pixel_values: &Tensor) -> Result<Tensor, TchError> {
        let (weight, bias) = (&self.patch_weight, Some(&self.patch_bias));
        let patches = pixel_values
            .f_conv2d(weight, bias, self.patch_size, [0, 0], [1, 1], 1)?
            .f_flatten(2, 3)?
            .f_transpose(1, 2)?;
        let (batch, _, hidden) = patches.size3()?;
        let class = self.cls_token.f_expand([batch, 1, hidden], false)?;
        Tensor::f_cat(&[class, patches], 1)?.f_add(&self.position_embeddings)
    }
}

#[derive(Debug)]
struct VitAttention {
    qkv: Linear,
    output: Linear,
    hidden: i64,
    heads: i64,
}

impl VitAttention {
    fn new(
        config: &VitConfig,
        weights: &Scope<'_>,
        names: &LayerNames,
    ) -> Result<Self, WeightsError> {
        let (hidden, bias) = (config.hidden_size, config.qkv_bias);
        let qkv = [names.query, names.key, names.value];
        Ok(Self {
            qkv: Linear::fused(&qkv, bias, hidden, hidden, weights)?,
            output: Linear::new(hidden, hidden, &weights.at(names.attention_output))?,
            hidden,
            heads: config.num_attention_heads,
        })
    }

    /// `[batch, length, hidden]` to what its first `queries` positions see, `[batch, queries,
    /// hidden]`.
    fn forward(&self, xs: &Tensor, queries: i64) -> Result<Tensor, TchError> {
        let hidden = self.hidden;
        let (query, key_value) = if queries < xs.size3()?.1 {
            let query = (self.qkv.rows(0, hidden)?).forward(&xs.f_narrow(1, 0, queries)?)?;
            (query, self.qkv.rows(hidden, 2 * hidden)?.forward(xs)?)
        } else {
            let qkv = self.qkv.forward(xs)?;
            let query = qkv.f_narrow(2, 0, hidden)?;
            (query, qkv.f_narrow(2, hidden, 2 * hidden)?)
        };
        let context = attend(
            &split_heads(&query, self.heads)?,
            &split_heads(&key_value.f_narrow(2, 0, hidden)?, self.heads)?,
            &split_heads(&key_value.f_narrow(2, hidden, hidden)?, self.heads)?,
            false,
        )?;
        self.output.forward(&merge_heads(&context)?)
    }
}

#[derive(Debug)]
struct VitMlp {
    widen: Linear,
    narrow: Linear,
    activation: Activation,
}

impl VitMlp {
    fn new(
        config: &VitConfig,
        weights: &Scope<'_>,
        names: &LayerNames,
    ) -> Result<Self, WeightsError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            widen: Linear::new(hidden, intermediate, &weights.at(names.widen))?,
            narrow: Linear::new(intermediate, hidden, &weights.at(names.narrow))?,
            activation: config.hidden_act,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        let xs = self.widen.forward(xs)?;
        self.narrow.forward(&self.activation.forward(&xs)?)
    }
}

/// One block.
#[derive(Debug)]
pub(super) struct VitLayer {
    layernorm_before: LayerNorm,
    attention: VitAttention,
    layernorm_after: LayerNorm,
    mlp: VitMlp,
}

impl VitLayer {
    pub(super) fn new(
        config: &VitConfig,
        weights: &Scope<'_>,
        names: &LayerNames,
    ) -> Result<Self, WeightsError> {
        let norm =
            |name| LayerNorm::new(config.hidden_size, config.layer_norm_eps, &weights.at(name));
        Ok(Self {
            layernorm_before: norm("layernorm_before")?,
            attention: VitAttention::new(config, weights, names)?,
            layernorm_after: norm("layernorm_after")?,
            mlp: VitMlp::new(config, weights, names)?,
        })
    }

    /// `[batch, length, hidden]` to the first `queries` positions of the next hidden state,
    /// `[batch, queries, hidden]`.
    pub(super) fn forward(&self, xs: &Tensor, queries: i64) -> Result<Tensor, TchError> {
        let attended = (self.attention).forward(&self.layernorm_before.forward(xs)?, queries)?;
        let xs = attended.f_add(&xs.f_narrow(1, 0, queries)?)?;
        (self.mlp.forward(&self.layernorm_after.forward(&xs)?)?).f_add(&xs)
    }
}
