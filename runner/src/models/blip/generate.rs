//! What a caption is asked for with, and how a batch of asks is written: as transformers 5.23's
//! `BlipForConditionalGeneration.generate` does it, greedily or with beams.

use super::{Blip, KeyValueCache, TextConfig};
use tch::{TchError, Tensor};

/// New tokens when the request names no bound. transformers 5.23 hands over to `generate` of the
/// inner `text_decoder` (`modeling_blip.py`), whose `generation_config` comes from its own config
/// (`PreTrainedModel.__init__`), not from `generation_config.json`, and that config has lost
/// `max_length`, `num_beams` and their like while it was read (`PreTrainedConfig.__post_init__`
/// pops all of `GenerationConfig._get_default_generation_params`). What is left is the library's
/// own default of 20, to which `_prepare_generated_length` adds BOS and prompt.
const DEFAULT_NEW_TOKENS: usize = 20;

/// Most sequences that a beam search follows: memory and time grow with them.
const MAX_BEAMS: usize = 10;

/// One caption to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptionAsk {
    /// BOS, then the prompt's tokens.
    pub input_ids: Vec<i64>,
    /// The whole sequence is to have no more tokens.
    pub max_length: usize,
    /// How many sequences are followed at once; 1 is greedy.
    pub num_beams: usize,
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
    /// No sequence would be followed, or too many.
    #[error("numBeams is {0}; ask for 1 to {MAX_BEAMS}")]
    Beams(usize),
}

impl CaptionAsk {
    /// `prompt`: the tokens of the prompt as the tokenizer gives them, `[CLS] .. [SEP]`, or
    /// none. The first becomes BOS and the last is dropped.
    pub fn new(
        config: &TextConfig,
        prompt: &[i64],
        max_new_tokens: Option<usize>,
        num_beams: usize,
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
        if !(1..=MAX_BEAMS).contains(&num_beams) {
            return Err(LengthError::Beams(num_beams));
        }
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
            num_beams,
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
    /// the same length, and all asks as many beams. A row that is `dropped` is written no
    /// further, what there is of it is given back; asked between the steps, so a step (on a GPU,
    /// [`Blip::look_every`] steps) is the longest it takes to be heeded.
    pub fn generate(
        &self,
        pixel_values: &Tensor,
        asks: &[&CaptionAsk],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Generated>, TchError> {
        let _no_grad = tch::no_grad_guard();
        if (0..asks.len()).all(dropped) {
            let tokens = |ask: &&CaptionAsk| ask.input_ids.clone();
            return Ok((asks.iter().map(tokens))
                .map(|tokens| Generated { tokens })
                .collect());
        }
        let pixel_values = pixel_values.f_to_kind(self.placement.kind)?;
        let image_embeds = self.vision.forward(&pixel_values)?;
        let capacity = asks.iter().map(|ask| ask.max_length).max().unwrap_or(0);
        let capacity = i64::try_from(capacity).unwrap_or(i64::MAX);
        let begun = Begun {
            cache: self.decoder.begin(&image_embeds, capacity)?,
            input_ids: self.token_rows(asks.iter().map(|ask| &*ask.input_ids))?,
        };
        if asks.iter().all(|ask| ask.num_beams <= 1) {
            self.greedy(begun, asks, dropped)
        } else {
            self.beam_search(begun, asks, dropped)
        }
    }

    /// Rows of tokens, all of one length, as `[rows, length]` on the device.
    pub(super) fn token_rows<'a>(
        &self,
        rows: impl Iterator<Item = &'a [i64]>,
    ) -> Result<Tensor, TchError> {
        let rows = rows
            .map(Tensor::f_from_slice)
            .collect::<Result<Vec<_>, _>>()?;
        Tensor::f_stack(&rows, 0)?.f_to_device(self.placement.device)
    }

    /// Places in a batch, on the device.
    pub(super) fn places(&self, places: &[usize]) -> Result<Tensor, TchError> {
        let places: Vec<i64> = (places.iter())
            .filter_map(|&place| i64::try_from(place).ok())
            .collect();
        Tensor::f_from_slice(&places)?.f_to_device(self.placement.device)
    }
}

/// A batch before its first step.
pub(super) struct Begun {
    /// With the pictures' keys and values.
    pub(super) cache: KeyValueCache,
    /// `[batch, length]`: BOS and prompt.
    pub(super) input_ids: Tensor,
}

/// Which asks the batch on the device still consists of. One that is done goes along for a while,
/// with whatever it would have written: to leave it out costs a copy of the cache.
#[derive(Debug)]
pub(super) struct Batch {
    /// Place in the batch to index of the ask.
    pub(super) asks: Vec<usize>,
}

/// What is to become of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// All are done.
    Ended,
    /// Nothing is to be copied.
    Same,
    /// The batch now consists of these of its former places.
    Keep(Vec<usize>),
}

impl Batch {
    /// All of so many asks.
    pub(super) fn new(asks: usize) -> Self {
        Self {
            asks: (0..asks).collect(),
        }
    }

    /// Leaves out the asks that are done, once they are half of the batch.
    pub(super) fn next(&mut self, done: impl Fn(usize) -> bool) -> Next {
        let kept: Vec<usize> = (0..self.asks.len())
            .filter(|&place| !done(self.asks[place]))
            .collect();
        if kept.is_empty() {
            return Next::Ended;
        }
        if kept.len() * 2 > self.asks.len() {
            return Next::Same;
        }
        self.asks = kept.iter().map(|&place| self.asks[place]).collect();
        Next::Keep(kept)
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
        let ask = CaptionAsk::new(&config(), &[], None, 1).unwrap();
        assert_eq!((ask.input_ids, ask.max_length), (vec![7], 21));
    }

    #[test]
    fn the_prompt_loses_its_last_token_and_its_first_becomes_bos() {
        let ask = CaptionAsk::new(&config(), &[101, 5, 6, 102], Some(4), 1).unwrap();
        assert_eq!((ask.input_ids, ask.max_length), (vec![7, 5, 6], 7));
    }

    #[test]
    fn the_default_bound_gives_way_to_the_models_positions_but_an_asked_one_does_not() {
        let prompt: Vec<i64> = (0..22).collect();
        let ask = CaptionAsk::new(&config(), &prompt, None, 1).unwrap();
        assert_eq!(ask.max_length, 32);
        let refused = CaptionAsk::new(&config(), &prompt, Some(20), 1).unwrap_err();
        assert!(refused.to_string().contains("32"), "{refused}");
        let full: Vec<i64> = (0..33).collect();
        assert!(CaptionAsk::new(&config(), &full, None, 1).is_err());
        assert!(CaptionAsk::new(&config(), &[], Some(0), 1).is_err());
        for beams in [0, MAX_BEAMS + 1, usize::MAX] {
            let refused = CaptionAsk::new(&config(), &[], None, beams).unwrap_err();
            assert_eq!(refused, LengthError::Beams(beams));
        }
        assert!(CaptionAsk::new(&config(), &[], Some(usize::MAX), 1).is_err());
    }

    #[test]
    fn a_batch_leaves_out_what_is_done_once_that_is_half_of_it() {
        let mut batch = Batch::new(4);
        assert_eq!(batch.next(|ask| ask == 2), Next::Same);
        assert_eq!(batch.next(|ask| ask % 2 == 0), Next::Keep(vec![1, 3]));
        assert_eq!(batch.asks, [1, 3]);
        assert_eq!(batch.next(|ask| ask == 1), Next::Keep(vec![1]));
        assert_eq!((batch.next(|_| false), batch.asks[0]), (Next::Same, 3));
        assert_eq!(batch.next(|_| true), Next::Ended);
    }
}
