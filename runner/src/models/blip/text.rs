//! BLIP's caption writer: a post-norm BERT (Devlin et al. 2018) that attends to the picture
//! between its self-attention and its feed-forward block.

use super::TextConfig;
use crate::models::nn::{
    Activation, Embedding, LayerNorm, Linear, attend, merge_heads, split_heads,
};
use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

/// Keys and values `[batch, heads, length, size]` of an attention.
#[derive(Debug)]
struct KeyValue {
    key: Tensor,
    value: Tensor,
}

/// What the decoder keeps of a batch between its steps: keys and values of the picture, computed
/// once, and of the tokens so far, written into buffers that were laid out once.
#[derive(Debug)]
pub struct KeyValueCache {
    layers: Vec<LayerCache>,
    length: i64,
}

#[derive(Debug)]
struct LayerCache {
    text: KeyValue,
    picture: KeyValue,
}

impl KeyValue {
    /// Writes `new` at the place `start` of the buffers; gives all up to there.
    fn append(&self, new: &Self, start: i64) -> Result<Self, TchError> {
        let length = new.key.size()[2];
        self.key.f_narrow(2, start, length)?.f_copy_(&new.key)?;
        self.value.f_narrow(2, start, length)?.f_copy_(&new.value)?;
        Ok(Self {
            key: self.key.f_narrow(2, 0, start + length)?,
            value: self.value.f_narrow(2, 0, start + length)?,
        })
    }
}

/// Token and position embeddings.
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

/// One attention with its output block; over the tokens or over the picture.
#[derive(Debug)]
struct TextAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    dense: Linear,
    layer_norm: LayerNorm,
    heads: i64,
}

impl TextAttention {
    /// `context_size`: width of what keys and values are made from.
    fn new(
        config: &TextConfig,
        context_size: i64,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let hidden = config.hidden_size;
        let (attention, output) = (weights.at("self"), weights.at("output"));
        Ok(Self {
            query: Linear::new(hidden, hidden, &attention.at("query"))?,
            key: Linear::new(context_size, hidden, &attention.at("key"))?,
            value: Linear::new(context_size, hidden, &attention.at("value"))?,
            dense: Linear::new(hidden, hidden, &output.at("dense"))?,
            layer_norm: LayerNorm::new(hidden, config.layer_norm_eps, &output.at("LayerNorm"))?,
            heads: config.num_attention_heads,
        })
    }

    fn key_value(&self, context: &Tensor) -> Result<KeyValue, TchError> {
        Ok(KeyValue {
            key: split_heads(&self.key.forward(context)?, self.heads)?,
            value: split_heads(&self.value.forward(context)?, self.heads)?,
        })
    }

    fn forward(&self, xs: &Tensor, context: &KeyValue, causal: bool) -> Result<Tensor, TchError> {
        let query = split_heads(&self.query.forward(xs)?, self.heads)?;
        let attended = attend(&query, &context.key, &context.value, causal)?;
        let output = self.dense.forward(&merge_heads(&attended)?)?;
        self.layer_norm.forward(&output.f_add(xs)?)
    }
}

#[derive(Debug)]
struct TextLayer {
    attention: TextAttention,
    crossattention: TextAttention,
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
        let attention =
            |name, context_size| TextAttention::new(config, context_size, &weights.at(name));
        let output = weights.at("output");
        Ok(Self {
            attention: attention("attention", hidden)?,
            crossattention: attention("crossattention", picture_size)?,
            intermediate: Linear::new(hidden, intermediate, &weights.at("intermediate.dense"))?,
            activation: config.hidden_act,
            output: Linear::new(intermediate, hidden, &output.at("dense"))?,
            layer_norm: LayerNorm::new(hidden, config.layer_norm_eps, &output.at("LayerNorm"))?,
        })
    }

    fn forward(&self, xs: &Tensor, cache: &LayerCache, start: i64) -> Result<Tensor, TchError> {
        let context = (cache.text).append(&self.attention.key_value(xs)?, start)?;
        // Later steps bring one token, which may see everything before it: no mask.
        let xs = self.attention.forward(xs, &context, start == 0)?;
        let xs = self.crossattention.forward(&xs, &cache.picture, false)?;
        let widened = (self.activation).forward(&self.intermediate.forward(&xs)?)?;
        (self.layer_norm).forward(&self.output.forward(&widened)?.f_add(&xs)?)
    }
}

/// From hidden state to a score for every token.
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
        let xs = self.activation.forward(&self.dense.forward(xs)?)?;
        self.decoder.forward(&self.layer_norm.forward(&xs)?)
    }
}

/// The caption writer.
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
    /// `[batch, positions, picture_size]` this is.
    pub fn begin(&self, image_embeds: &Tensor, capacity: i64) -> Result<KeyValueCache, TchError> {
        let (batch, _, _) = image_embeds.size3()?;
        let heads = self.config.num_attention_heads;
        let shape = [batch, heads, capacity, self.config.hidden_size / heads];
        let buffer = || Tensor::f_empty(shape, (image_embeds.kind(), image_embeds.device()));
        let layers = (self.layers.iter())
            .map(|layer| {
                Ok(LayerCache {
                    text: KeyValue {
                        key: buffer()?,
                        value: buffer()?,
                    },
                    picture: layer.crossattention.key_value(image_embeds)?,
                })
            })
            .collect::<Result<_, TchError>>()?;
        Ok(KeyValueCache { layers, length: 0 })
    }

    /// Takes the next tokens, `input_ids` `[batch, length]` (the first time the prompt, then one
    /// by one); gives the scores `[batch, vocab_size]` of what follows the last of them.
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
