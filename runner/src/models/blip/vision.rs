//! BLIP's picture encoder: a pre-norm vision transformer (Dosovitskiy et al. 2020) with one
//! projection for query, key and value.

use super::VisionConfig;
use crate::models::nn::{Activation, LayerNorm, Linear, attend, merge_heads};
use crate::weights::{Scope, WeightsError};
use tch::{Device, TchError, Tensor};

/// Patches by a strided convolution, a class token before them, learned positions.
#[derive(Debug)]
struct VisionEmbeddings {
    class_embedding: Tensor,
    patch_weight: Tensor,
    patch_bias: Tensor,
    position_embedding: Tensor,
    patch_size: i64,
}

impl VisionEmbeddings {
    fn new(config: &VisionConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let (hidden, patch) = (config.hidden_size, config.patch_size);
        let patch_embedding = weights.at("patch_embedding");
        Ok(Self {
            class_embedding: weights.tensor("class_embedding", &[1, 1, hidden])?,
            patch_weight: patch_embedding.tensor("weight", &[hidden, 3, patch, patch])?,
            patch_bias: patch_embedding.tensor("bias", &[hidden])?,
            position_embedding: weights
                .tensor("position_embedding", &[1, config.positions(), hidden])?,
            patch_size: patch,
        })
    }

    fn forward(&self, pixel_values: &Tensor) -> Result<Tensor, TchError> {
        let stride = [self.patch_size, self.patch_size];
        let patches = pixel_values
            .f_conv2d(
                &self.patch_weight,
                Some(&self.patch_bias),
                stride,
                [0, 0],
                [1, 1],
                1,
            )?
            .f_flatten(2, 3)?
            .f_transpose(1, 2)?;
        let (batch, _, hidden) = patches.size3()?;
        let class = self.class_embedding.f_expand([batch, 1, hidden], false)?;
        Tensor::f_cat(&[class, patches], 1)?.f_add(&self.position_embedding)
    }
}

#[derive(Debug)]
struct VisionAttention {
    qkv: Linear,
    projection: Linear,
    heads: i64,
}

impl VisionAttention {
    fn new(config: &VisionConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let hidden = config.hidden_size;
        Ok(Self {
            qkv: Linear::new(hidden, 3 * hidden, &weights.at("qkv"))?,
            projection: Linear::new(hidden, hidden, &weights.at("projection"))?,
            heads: config.num_attention_heads,
        })
    }

    /// The attention's output and `residual`, together.
    fn forward(&self, xs: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        let (batch, length, hidden) = xs.size3()?;
        // [3, batch, heads, length, size]
        let qkv = (self.qkv.forward(xs)?)
            .f_reshape([batch, length, 3, self.heads, hidden / self.heads])?
            .f_permute([2, 0, 3, 1, 4])?;
        let (query, key, value) = (
            qkv.f_select(0, 0)?,
            qkv.f_select(0, 1)?,
            qkv.f_select(0, 2)?,
        );
        let context = attend(&query, &key, &value, false)?;
        (self.projection).forward_added(&merge_heads(&context)?, residual)
    }
}

#[derive(Debug)]
struct VisionMlp {
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
}

impl VisionMlp {
    fn new(config: &VisionConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            fc1: Linear::new(hidden, intermediate, &weights.at("fc1"))?,
            fc2: Linear::new(intermediate, hidden, &weights.at("fc2"))?,
            activation: config.hidden_act,
        })
    }

    /// The block's output and `residual`, together.
    fn forward(&self, xs: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        let widened = self.fc1.forward_activated(xs, self.activation)?;
        self.fc2.forward_added(&widened, residual)
    }
}

#[derive(Debug)]
struct VisionLayer {
    layer_norm1: LayerNorm,
    self_attn: VisionAttention,
    layer_norm2: LayerNorm,
    mlp: VisionMlp,
}

impl VisionLayer {
    fn new(config: &VisionConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let norm =
            |name| LayerNorm::new(config.hidden_size, config.layer_norm_eps, &weights.at(name));
        Ok(Self {
            layer_norm1: norm("layer_norm1")?,
            self_attn: VisionAttention::new(config, &weights.at("self_attn"))?,
            layer_norm2: norm("layer_norm2")?,
            mlp: VisionMlp::new(config, &weights.at("mlp"))?,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        let xs = (self.self_attn).forward(&self.layer_norm1.forward(xs)?, xs)?;
        (self.mlp).forward(&self.layer_norm2.forward(&xs)?, &xs)
    }
}

#[derive(Debug)]
pub struct VisionModel {
    embeddings: VisionEmbeddings,
    layers: Vec<VisionLayer>,
    post_layernorm: LayerNorm,
}

impl VisionModel {
    /// Loads from `vision_model`.
    pub fn new(config: &VisionConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let layers = weights.at("encoder.layers");
        Ok(Self {
            embeddings: VisionEmbeddings::new(config, &weights.at("embeddings"))?,
            layers: (0..config.num_hidden_layers)
                .map(|i| VisionLayer::new(config, &layers.at(i)))
                .collect::<Result<_, _>>()?,
            post_layernorm: LayerNorm::new(
                config.hidden_size,
                config.layer_norm_eps,
                &weights.at("post_layernorm"),
            )?,
        })
    }

    /// `pixel_values` `[batch, 3, image_size, image_size]` to the last hidden state
    /// `[batch, positions, hidden_size]`.
    pub fn forward(&self, pixel_values: &Tensor) -> Result<Tensor, TchError> {
        let (batch, _, _, _) = pixel_values.size4()?;
        if batch == 1 || pixel_values.device() != Device::Cpu {
            return self.encode(pixel_values);
        }
        // A picture has rows enough for a CPU, and alone it stays in the caches: eight together
        // take longer than eight one by one.
        let pictures = (0..batch)
            .map(|picture| self.encode(&pixel_values.f_narrow(0, picture, 1)?))
            .collect::<Result<Vec<_>, _>>()?;
        Tensor::f_cat(&pictures, 0)
    }

    fn encode(&self, pixel_values: &Tensor) -> Result<Tensor, TchError> {
        let mut xs = self.embeddings.forward(pixel_values)?;
        for layer in &self.layers {
            xs = layer.forward(&xs)?;
        }
        self.post_layernorm.forward(&xs)
    }
}
