//! DETR's decoder: post-norm transformer blocks over a fixed number of queries, each of which
//! detects one object in the encoder's output.

use super::DetrConfig;
use super::layers::{FeedForward, SelfAttention, layer_norm};
use crate::models::nn::{Embedding, LayerNorm, Linear, attend, merge_heads, split_heads};
use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

/// Cross-attention without keys and values, which are computed for all blocks at once.
#[derive(Debug)]
struct CrossAttention {
    query: Linear,
    output: Linear,
}

#[derive(Debug)]
struct DecoderLayer {
    self_attn: SelfAttention,
    self_attn_layer_norm: LayerNorm,
    encoder_attn: CrossAttention,
    encoder_attn_layer_norm: LayerNorm,
    feed_forward: FeedForward,
    final_layer_norm: LayerNorm,
}

impl DecoderLayer {
    fn new(config: &DetrConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let (hidden, heads) = (config.d_model, config.decoder_attention_heads);
        let encoder_attn = weights.at("encoder_attn");
        Ok(Self {
            self_attn: SelfAttention::new(hidden, heads, &weights.at("self_attn"))?,
            self_attn_layer_norm: layer_norm(config, &weights.at("self_attn_layer_norm"))?,
            encoder_attn: CrossAttention {
                query: Linear::new(hidden, hidden, &encoder_attn.at("q_proj"))?,
                output: Linear::new(hidden, hidden, &encoder_attn.at("out_proj"))?,
            },
            encoder_attn_layer_norm: layer_norm(config, &weights.at("encoder_attn_layer_norm"))?,
            feed_forward: FeedForward::new(config, config.decoder_ffn_dim, weights)?,
            final_layer_norm: layer_norm(config, &weights.at("final_layer_norm"))?,
        })
    }

    fn self_attention(&self, xs: &Tensor, query_positions: &Tensor) -> Result<Tensor, TchError> {
        let xs = self.self_attn.forward_added(xs, query_positions)?;
        self.self_attn_layer_norm.forward(&xs)
    }

    /// The rest of the block; `key` and `value` are the picture's, `[batch, heads, places, size]`.
    fn cross_attention(
        &self,
        xs: &Tensor,
        query_positions: &Tensor,
        key: &Tensor,
        value: &Tensor,
    ) -> Result<Tensor, TchError> {
        let heads = key.size4()?.1;
        let CrossAttention { query, output } = &self.encoder_attn;
        let query = split_heads(&query.forward(&xs.f_add(query_positions)?)?, heads)?;
        let context = merge_heads(&attend(&query, key, value, false)?)?;
        let xs = output.forward_added(&context, xs)?;
        let xs = self.encoder_attn_layer_norm.forward(&xs)?;
        let xs = self.feed_forward.forward_added(&xs)?;
        self.final_layer_norm.forward(&xs)
    }
}

#[derive(Debug)]
pub(super) struct Decoder {
    layers: Vec<DecoderLayer>,
    /// `[1, queries, d_model]`.
    query_positions: Tensor,
    /// The queries after the first self-attention, `[1, queries, d_model]`: the same for every
    /// picture, since they begin as zeros.
    first_attended: Tensor,
    /// Keys and values of all blocks, in order.
    keys: Linear,
    values: Linear,
    layernorm: LayerNorm,
    /// Whether to normalise the output of every block, not only of the last.
    normalize_each: bool,
    heads: i64,
}

impl Decoder {
    /// Loads from `model.decoder`, and the queries from `model.query_position_embeddings`.
    pub(super) fn new(config: &DetrConfig, model: &Scope<'_>) -> Result<Self, WeightsError> {
        let (hidden, weights) = (config.d_model, model.at("decoder"));
        let queries = "query_position_embeddings";
        let positions = Embedding::new(config.num_queries, hidden, &model.at(queries))?;
        let places: Vec<_> = (0..config.decoder_layers)
            .map(|i| weights.at("layers").at(i))
            .collect();
        let layers = (places.iter())
            .map(|layer| DecoderLayer::new(config, layer))
            .collect::<Result<Vec<_>, _>>()?;
        let of_all = |name: &str| {
            let scopes: Vec<_> = (places.iter())
                .map(|layer| layer.at("encoder_attn").at(name))
                .collect();
            Linear::side_by_side(true, hidden, hidden, &scopes)
        };
        let (query_positions, first_attended) = first_attended(config, &positions, layers.first())
            .map_err(|source| WeightsError::Device {
                name: queries.to_owned(),
                source,
            })?;
        Ok(Self {
            keys: of_all("k_proj")?,
            values: of_all("v_proj")?,
            layers,
            query_positions,
            first_attended,
            layernorm: layer_norm(config, &weights.at("layernorm"))?,
            normalize_each: config.auxiliary_loss,
            heads: config.decoder_attention_heads,
        })
    }

    /// `memory`, the encoder's output `[batch, places, d_model]`, with `positions`
    /// `[1, places, d_model]`, to `[batch, queries, d_model]`.
    pub(super) fn forward(&self, memory: &Tensor, positions: &Tensor) -> Result<Tensor, TchError> {
        let (batch, _, hidden) = memory.size3()?;
        let keys = self.keys.forward(&memory.f_add(positions)?)?;
        let values = self.values.forward(memory)?;
        let (_, queries, _) = self.first_attended.size3()?;
        let mut xs = self
            .first_attended
            .f_expand([batch, queries, hidden], false)?;
        for (place, layer) in (0i64..).zip(&self.layers) {
            if place > 0 {
                xs = layer.self_attention(&xs, &self.query_positions)?;
            }
            let of_layer =
                |all: &Tensor| split_heads(&all.f_narrow(2, place * hidden, hidden)?, self.heads);
            let (key, value) = (of_layer(&keys)?, of_layer(&values)?);
            xs = layer.cross_attention(&xs, &self.query_positions, &key, &value)?;
            if self.normalize_each {
                xs = self.layernorm.forward(&xs)?;
            }
        }
        self.layernorm.forward(&xs)
    }
}

/// The queries' positions, and the queries after the first block's self-attention.
fn first_attended(
    config: &DetrConfig,
    positions: &Embedding,
    first: Option<&DecoderLayer>,
) -> Result<(Tensor, Tensor), TchError> {
    let positions = positions.rows(0, config.num_queries)?.f_unsqueeze(0)?;
    let zeros = positions.f_zeros_like()?;
    let attended = match first {
        Some(layer) => layer.self_attention(&zeros, &positions)?,
        None => zeros,
    };
    Ok((positions, attended))
}
