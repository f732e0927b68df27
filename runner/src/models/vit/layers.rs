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

/// Query, key and value of every position.
#[derive(Debug)]
enum Projection {
    /// Query, key and value by one matrix product.
    Whole(Linear),
    /// In the last layer, where only some positions query: key and value by one matrix product.
    Apart { query: Linear, key_value: Linear },
}

#[derive(Debug)]
struct VitAttention {
    projection: Projection,
    output: Linear,
    hidden: i64,
    heads: i64,
}

impl VitAttention {
    fn new(
        config: &VitConfig,
        last: bool,
        weights: &Scope<'_>,
        names: &LayerNames,
    ) -> Result<Self, WeightsError> {
        let hidden = config.hidden_size;
        let project = |names: &[&str]| {
            let scopes: Vec<_> = names.iter().map(|name| weights.at(name)).collect();
            Linear::side_by_side(config.qkv_bias, hidden, hidden, &scopes)
        };
        let LayerNames {
            query, key, value, ..
        } = names;
        let projection = if last {
            Projection::Apart {
                query: project(&[query])?,
                key_value: project(&[key, value])?,
            }
        } else {
            Projection::Whole(project(&[query, key, value])?)
        };
        Ok(Self {
            projection,
            output: Linear::new(hidden, hidden, &weights.at(names.attention_output))?,
            hidden,
            heads: config.num_attention_heads,
        })
    }

    /// Adds self-attention to `residual` `[batch, queries, hidden]`. The first `queries` positions of
    /// `xs` `[batch, length, hidden]` attend to all of its positions.
    fn forward(&self, xs: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        let (hidden, queries) = (self.hidden, residual.size3()?.1);
        let part = |of: &Tensor, place: i64| {
            split_heads(&of.f_narrow(2, place * hidden, hidden)?, self.heads)
        };
        let [query, key, value] = match &self.projection {
            Projection::Whole(linear) => {
                let all = linear.forward(xs)?;
                let query = part(&all.f_narrow(1, 0, queries)?, 0)?;
                [query, part(&all, 1)?, part(&all, 2)?]
            }
            Projection::Apart { query, key_value } => {
                let query = query.forward(&xs.f_narrow(1, 0, queries)?)?;
                let all = key_value.forward(xs)?;
                [part(&query, 0)?, part(&all, 0)?, part(&all, 1)?]
            }
        };
        let context = attend(&query, &key, &value, false)?;
        self.output.forward_added(&merge_heads(&context)?, residual)
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

    /// The block's output and `residual`, together.
    fn forward(&self, xs: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        let widened = self.widen.forward_activated(xs, self.activation)?;
        self.narrow.forward_added(&widened, residual)
    }
}

#[derive(Debug)]
pub(super) struct VitLayer {
    layernorm_before: LayerNorm,
    attention: VitAttention,
    layernorm_after: LayerNorm,
    mlp: VitMlp,
}

impl VitLayer {
    /// The `last` block can compute some positions only.
    pub(super) fn new(
        config: &VitConfig,
        last: bool,
        weights: &Scope<'_>,
        names: &LayerNames,
    ) -> Result<Self, WeightsError> {
        let norm =
            |name| LayerNorm::new(config.hidden_size, config.layer_norm_eps, &weights.at(name));
        Ok(Self {
            layernorm_before: norm("layernorm_before")?,
            attention: VitAttention::new(config, last, weights, names)?,
            layernorm_after: norm("layernorm_after")?,
            mlp: VitMlp::new(config, weights, names)?,
        })
    }

    /// `[batch, length, hidden]` to the first `positions` of the next hidden state, `[batch,
    /// positions, hidden]`.
    pub(super) fn forward(&self, xs: &Tensor, positions: i64) -> Result<Tensor, TchError> {
        let residual = xs.f_narrow(1, 0, positions)?;
        let xs = (self.attention).forward(&self.layernorm_before.forward(xs)?, &residual)?;
        self.mlp.forward(&self.layernorm_after.forward(&xs)?, &xs)
    }
}
