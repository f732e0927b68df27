//! Greedy decoding, as transformers 5.23's `BlipForConditionalGeneration.generate` does it.

use super::{Blip, TextConfig};
use tch::{TchError, Tensor};

/// New tokens when the request names no bound. transformers 5.23 calls `generate` of the inner
/// text decoder, which reads neither `generation_config.json` nor `text_config.max_length`: the
/// library's own default counts new tokens, beyond BOS and prompt.
const DEFAULT_NEW_TOKENS: usize = 20;

/// One caption to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptionAsk {
    /// BOS, then the prompt's tokens.
    pub input_ids: Vec<i64>,
    /// The whole sequence is to have no more tokens.
    pub max_length: usize,
}

/// Why no caption can be asked for so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// Nothing would be written.
    #[error("maxNewTokens is 0; ask for at least 1")]
    NoNewTokens,
    /// The model has no positions for so many tokens.
    #[error(
        "the prompt's {prompt_tokens} tokens and {new_tokens} new ones are more than the \
         model's {max_positions}; shorten the prompt or lower maxNewTokens"
    )]
    TooLong {
        /// With BOS.
        prompt_tokens: usize,
        /// As asked for.
        new_tokens: usize,
        /// Of the checkpoint.
        max_positions: usize,
    },
}

impl CaptionAsk {
    /// `prompt`: the tokens of the prompt as the tokenizer gives them, `[CLS] .. [SEP]`, or
    /// none. The first becomes BOS and the last is dropped.
    pub fn new(
        config: &TextConfig,
        prompt: &[i64],
        max_new_tokens: Option<usize>,
    ) -> Result<Self, LengthError> {
        let words = prompt.get(1..prompt.len().saturating_sub(1)).unwrap_or(&[]);
        let mut input_ids = vec![config.bos_token_id];
        input_ids.extend_from_slice(words);
        let max_positions = usize::try_from(config.max_position_embeddings).unwrap_or(0);
        let max_length = match max_new_tokens {
            Some(0) => return Err(LengthError::NoNewTokens),
            Some(new_tokens) => input_ids.len().saturating_add(new_tokens),
            // At least one, so that a prompt without room is told.
            None => (input_ids.len() + DEFAULT_NEW_TOKENS)
                .min(max_positions)
                .max(input_ids.len() + 1),
        };
        if max_length > max_positions {
            return Err(LengthError::TooLong {
                prompt_tokens: input_ids.len(),
                new_tokens: max_length - input_ids.len(),
                max_positions,
            });
        }
        Ok(Self {
            input_ids,
            max_length,
        })
    }
}

/// A written caption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// BOS, prompt and what was written, to the end token if it came.
    pub tokens: Vec<i64>,
}

impl Blip {
    /// Captions for `pixel_values` `[batch, 3, height, width]`, one per ask; all prompts have
    /// the same length. A row that is `dropped` is written no further, what there is of it is
    /// given back; asked between the steps, so a step is the longest it takes to be heeded.
    pub fn generate(
        &self,
        pixel_values: &Tensor,
        asks: &[&CaptionAsk],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Generated>, TchError> {
        let _no_grad = tch::no_grad_guard();
        let end = self.config.text_config.sep_token_id;
        let mut rows: Vec<Vec<i64>> = asks.iter().map(|ask| ask.input_ids.clone()).collect();
        let mut finished: Vec<bool> = (0..rows.len()).map(dropped).collect();
        let capacity = asks.iter().map(|ask| ask.max_length).max().unwrap_or(0);
        if finished.iter().all(|&row| row) {
            return Ok(rows
                .into_iter()
                .map(|tokens| Generated { tokens })
                .collect());
        }

        let image_embeds = self.vision.forward(pixel_values)?;
        let mut cache = self
            .decoder
            .begin(&image_embeds, i64::try_from(capacity).unwrap_or(i64::MAX))?;
        let prompts = rows
            .iter()
            .map(|row| Tensor::f_from_slice(row))
            .collect::<Result<Vec<_>, _>>()?;
        let mut input_ids = Tensor::f_stack(&prompts, 0)?.f_to_device(self.placement.device)?;
        loop {
            for (row, done) in finished.iter_mut().enumerate() {
                *done = *done || dropped(row);
            }
            if finished.iter().all(|&row| row) {
                break;
            }
            let logits = self.decoder.forward(&input_ids, &mut cache)?;
            // A finished row goes along with whatever it would have written.
            input_ids = logits.f_argmax(-1, true)?;
            let next = Vec::<i64>::try_from(&input_ids.f_flatten(0, 1)?)?;
            for (row, token) in next.into_iter().enumerate() {
                if !finished[row] {
                    rows[row].push(token);
                    finished[row] = token == end || rows[row].len() >= asks[row].max_length;
                }
            }
        }
        Ok(rows
            .into_iter()
            .map(|tokens| Generated { tokens })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TextConfig {
        TextConfig {
            bos_token_id: 7,
            max_position_embeddings: 32,
            ..TextConfig::default()
        }
    }

    #[test]
    fn without_a_prompt_a_caption_begins_with_bos_and_has_20_new_tokens() {
        let ask = CaptionAsk::new(&config(), &[], None).unwrap();
        assert_eq!((ask.input_ids, ask.max_length), (vec![7], 21));
    }

    #[test]
    fn the_prompt_loses_its_last_token_and_its_first_becomes_bos() {
        let ask = CaptionAsk::new(&config(), &[101, 5, 6, 102], Some(4)).unwrap();
        assert_eq!((ask.input_ids, ask.max_length), (vec![7, 5, 6], 7));
    }

    #[test]
    fn the_default_bound_gives_way_to_the_models_positions_but_an_asked_one_does_not() {
        let prompt: Vec<i64> = (0..22).collect();
        let ask = CaptionAsk::new(&config(), &prompt, None).unwrap();
        assert_eq!(ask.max_length, 32);
        let refused = CaptionAsk::new(&config(), &prompt, Some(20)).unwrap_err();
        assert!(refused.to_string().contains("32"), "{refused}");
        let full: Vec<i64> = (0..33).collect();
        assert!(CaptionAsk::new(&config(), &full, None).is_err());
        assert!(CaptionAsk::new(&config(), &[], Some(0)).is_err());
        assert!(CaptionAsk::new(&config(), &[], Some(usize::MAX)).is_err());
    }
}
