//! BLIP's caption writer: a post-norm BERT (Devlin et al. 2018) that attends to the picture
//! between its self-attention and its feed-forward block.

use super::TextConfig;
use super::cache::{KeyValueCache, LayerCache};
use crate::models::nn::{
    Activation, Embedding, LayerNorm, Linear, attend, merge_heads, split_heads,
};
use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

#[derive(Debug)]
struct TextEmbeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    layer_norm: LayerNorm,
}

impl TextEmbeddings {
    fn new(
        config: &TextConfig,
        word_embeddings: Tensor,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let hidden = config.hidden_size;
        Ok(Self {
            word_embeddings: Embedding::from_tensor(word_embeddings),
            position_embeddings: Embedding::new(
                config.max_position_embeddings,
                hidden,
                &weights.at("position_embeddings"),
            )?,
            layer_norm: LayerNorm::new(hidden, config.layer_norm_eps, &weights.at("LayerNorm"))?,
        })
    }

    fn forward(&self, input_ids: &Tensor, start: i64) -> Result<Tensor, TchError> {
        let (_, length) = input_ids.size2()?;
        let positions = self.position_embeddings.rows(start, length)?;
        let xs = (self.word_embeddings.forward(input_ids)?).f_add(&positions)?;
        self.layer_norm.forward(&xs)
    }
}

/// The output projection of both attentions.
#[derive(Debug)]
struct AttentionOutput {
    dense: Linear,
    layer_norm: LayerNorm,
}

impl AttentionOutput {
    fn new(config: &TextConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let hidden = config.hidden_size;
        Ok(Self {
            dense: Linear::new(hidden, hidden, &weights.at("dense"))?,
            layer_norm: LayerNorm::new(hidden, config.layer_norm_eps, &weights.at("LayerNorm"))?,
        })
    }

    fn forward(&self, attended: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        (self.layer_norm).forward(&self.dense.forward_added(attended, residual)?)
    }
}

/// `[.., length, parts * width]` to `[parts, .., heads, length, width / heads]`, without a copy.
fn split_parts(xs: &Tensor, parts: i64, heads: i64) -> Result<Tensor, TchError> {
    let (batch, length, width) = xs.size3()?;
    xs.f_reshape([batch, length, parts, heads, width / parts / heads])?
        .f_permute([2, 0, 3, 1, 4])
}

#[derive(Debug)]
struct SelfAttention {
    /// Query, key and value side by side.
    qkv: Linear,
    output: AttentionOutput,
    heads: i64,
}

impl SelfAttention {
    fn new(config: &TextConfig, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        let hidden = config.hidden_size;
        let parts = ["self.query", "self.key", "self.value"].map(|name| weights.at(name));
        Ok(Self {
            qkv: Linear::side_by_side(true, hidden, hidden, &parts)?,
            output: AttentionOutput::new(config, &weights.at("output"))?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, xs: &Tensor, cache: &LayerCache, start: i64) -> Result<Tensor, TchError> {
        let qkv = split_parts(&self.qkv.forward(xs)?, 3, self.heads)?;
        let (key, value) = cache.append(&qkv.f_narrow(0, 1, 2)?, start)?;
        let query = qkv.f_select(0, 0)?;
        // A single token may see everything before it: no mask.
        let causal = query.size()[2] > 1;
        let attended = attend(&query, &key, &value, causal)?;
        self.output.forward(&merge_heads(&attended)?, xs)
    }
}

#[derive(Debug)]
struct CrossAttention {
    query: Linear,
    /// Key and value side by side.
    key_value: Linear,
    output: AttentionOutput,
    heads: i64,
}

impl CrossAttention {
    fn new(
        config: &TextConfig,
        picture_size: i64,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let hidden = config.hidden_size;
        let parts = ["self.key", "self.value"].map(|name| weights.at(name));
        Ok(Self {
            query: Linear::new(hidden, hidden, &weights.at("self.query"))?,
            key_value: Linear::side_by_side(true, picture_size, hidden, &parts)?,
            output: AttentionOutput::new(config, &weights.at("output"))?,
            heads: config.num_attention_heads,
        })
    }

    /// `[2, batch, heads, positions, size]` of the pictures' hidden state.
    fn key_value(&self, image_embeds: &Tensor) -> Result<Tensor, TchError> {
        split_parts(&self.key_value.forward(image_embeds)?, 2, self.heads)?.f_contiguous()
    }

    fn forward(&self, xs: &Tensor, cache: &LayerCache) -> Result<Tensor, TchError> {
        let (key, value) = cache.picture()?;
        let (rows, length, hidden) = xs.size3()?;
        let pictures = key.size()[0];
        // The beams of a picture attend to it together, as if they were tokens of one row.
        let together = [pictures, rows / pictures * length, hidden];
        let query = self.query.forward(xs)?.f_reshape(together)?;
        let attended = attend(&split_heads(&query, self.heads)?, &key, &value, false)?;
        let attended = merge_heads(&attended)?.f_reshape([rows, length, hidden])?;
        self.output.forward(&attended, xs)
    }
}

#[derive(Debug)]
struct TextLayer {
    attention: SelfAttention,
    crossattention: CrossAttention,
    intermediate: Linear,
    activation: Activation,
    output: Linear,
    layer_norm: LayerNorm,
}

impl TextLayer {
    fn new(
        config: &TextConfig,
        picture_size: i64,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let output = weights.at("output");
        Ok(Self {
            attention: SelfAttention::new(config, &weights.at("attention"))?,
            crossattention: CrossAttention::new(
                config,
                picture_size,
                &weights.at("crossattention"),
            )?,
            intermediate: Linear::new(hidden, intermediate, &weights.at("intermediate.dense"))?,
            activation: config.hidden_act,
            output: Linear::new(intermediate, hidden, &output.at("dense"))?,
            layer_norm: LayerNorm::new(hidden, config.layer_norm_eps, &output.at("LayerNorm"))?,
        })
    }

    fn forward(&self, xs: &Tensor, cache: &LayerCache, start: i64) -> Result<Tensor, TchError> {
        let xs = self.attention.forward(xs, cache, start)?;
        let xs = self.crossattention.forward(&xs, cache)?;
        let widened = (self.intermediate).forward_activated(&xs, self.activation)?;
        (self.layer_norm).forward(&self.output.forward_added(&widened, &xs)?)
    }
}

/// Maps hidden states to a score for every token.
#[derive(Debug)]
struct PredictionHead {
    dense: Linear,
    activation: Activation,
    layer_norm: LayerNorm,
    decoder: Linear,
}

impl PredictionHead {
    fn new(
        config: &TextConfig,
        decoder: Linear,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let hidden = config.hidden_size;
        let transform = weights.at("transform");
        Ok(Self {
            dense: Linear::new(hidden, hidden, &transform.at("dense"))?,
            activation: config.hidden_act,
            layer_norm: LayerNorm::new(hidden, config.layer_norm_eps, &transform.at("LayerNorm"))?,
            decoder,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        let xs = self.dense.forward_activated(xs, self.activation)?;
        self.decoder.forward(&self.layer_norm.forward(&xs)?)
    }
}

#[derive(Debug)]
pub struct TextDecoder {
    embeddings: TextEmbeddings,
    layers: Vec<TextLayer>,
    head: PredictionHead,
    config: TextConfig,
}

impl TextDecoder {
    /// Loads from `text_decoder`; the picture's hidden state is `picture_size` wide.
    pub fn new(
        config: &TextConfig,
        picture_size: i64,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let bert = weights.at("bert");
        let predictions = weights.at("cls.predictions");
        let (word_embeddings, decoder_weight) = tied(
            (&bert.at("embeddings.word_embeddings"), "weight"),
            (&predictions.at("decoder"), "weight"),
            &[config.vocab_size, config.hidden_size],
        )?;
        let (_, decoder_bias) = tied(
            (&predictions, "bias"),
            (&predictions.at("decoder"), "bias"),
            &[config.vocab_size],
        )?;
        let decoder = Linear::from_tensors(decoder_weight, decoder_bias);
        let layers = bert.at("encoder.layer");
        Ok(Self {
            embeddings: TextEmbeddings::new(config, word_embeddings, &bert.at("embeddings"))?,
            layers: (0..config.num_hidden_layers)
                .map(|i| TextLayer::new(config, picture_size, &layers.at(i)))
                .collect::<Result<_, _>>()?,
            head: PredictionHead::new(config, decoder, &predictions)?,
            config: config.clone(),
        })
    }

    /// Begins captions of up to `capacity` tokens for the pictures whose hidden state
    /// `[batch, positions, picture_size]` this is, one row of tokens for each.
    pub fn begin(&self, image_embeds: &Tensor, capacity: i64) -> Result<KeyValueCache, TchError> {
        let (batch, _, _) = image_embeds.size3()?;
        let heads = self.config.num_attention_heads;
        let shape = [2, batch, heads, capacity, self.config.hidden_size / heads];
        let kind_and_device = (image_embeds.kind(), image_embeds.device());
        let layers = (self.layers.iter())
            .map(|layer| {
                Ok(LayerCache {
                    text: Tensor::f_empty(shape, kind_and_device)?,
                    picture: layer.crossattention.key_value(image_embeds)?,
                })
            })
            .collect::<Result<_, TchError>>()?;
        Ok(KeyValueCache { layers, length: 0 })
    }

    /// Takes the next tokens, `input_ids` `[rows, length]` (the first time the prompt, then one
    /// by one); gives the scores `[rows, vocab_size]` of what follows the last of them.
    pub fn forward(
        &self,
        input_ids: &Tensor,
        cache: &mut KeyValueCache,
    ) -> Result<Tensor, TchError> {
        let mut xs = self.embeddings.forward(input_ids, cache.length)?;
        for (layer, layer_cache) in self.layers.iter().zip(&cache.layers) {
            xs = layer.forward(&xs, layer_cache, cache.length)?;
        }
        cache.length += input_ids.size2()?.1;
        self.head.forward(&xs.f_select(1, -1)?)
    }
}

/// Two names for one tensor: a checkpoint may have either or both, and where it has both with
/// different values they are two tensors (as transformers' `tie_weights` settles it).
fn tied(
    first: (&Scope<'_>, &str),
    second: (&Scope<'_>, &str),
    shape: &[i64],
) -> Result<(Tensor, Tensor), WeightsError> {
    let load = |(scope, name): (&Scope<'_>, &str)| scope.tensor(name, shape);
    let present = |(scope, name): (&Scope<'_>, &str)| scope.contains(name);
    match (present(first), present(second)) {
        (true, true) => {
            let (first, second) = (load(first)?, load(second)?);
            if first == second {
                Ok((first.shallow_clone(), first))
            } else {
                Ok((first, second))
            }
        }
        (false, true) => load(second).map(|tensor| (tensor.shallow_clone(), tensor)),
        // Also where both are missing: the error names the first.
        (_, false) => load(first).map(|tensor| (tensor.shallow_clone(), tensor)),
    }
}
