//! Checks the settings of a caption and fills in defaults, as transformers 5.23's
//! `BlipForConditionalGeneration.generate` does.

use super::TextConfig;
use crate::inference::CaptionQuery;

/// New tokens when the request names no bound. transformers 5.23 hands over to `generate` of the
/// inner `text_decoder` (`modeling_blip.py`), whose `generation_config` comes from its own config
/// (`PreTrainedModel.__init__`), not from `generation_config.json`, and that config has lost
/// `max_length`, `num_beams` and their like while it was read (`PreTrainedConfig.__post_init__`
/// pops all of `GenerationConfig._get_default_generation_params`). What is left is the library's
/// own default of 20, to which `_prepare_generated_length` adds BOS and prompt.
const DEFAULT_NEW_TOKENS: usize = 20;

/// Most sequences that a beam search follows: memory and time grow with them.
const MAX_BEAMS: usize = 10;

/// Why a caption's settings do not fit the model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("maxNewTokens is 0; set at least 1")]
    NoNewTokens,
    /// The sequence is longer than the model's position embeddings.
    #[error(
        "the prompt's {prompt_tokens} tokens and {new_tokens} new ones are more than the \
         model's {max_positions}; shorten the prompt or lower maxNewTokens"
    )]
    TooLong {
        prompt_tokens: usize,
        new_tokens: usize,
        max_positions: usize,
    },
    #[error("numBeams is {0}; set 1 to {MAX_BEAMS}")]
    Beams(usize),
}

impl TextConfig {
    /// `prompt` is the tokenizer's output, `[CLS] .. [SEP]`, or empty. `[CLS]` becomes BOS and
    /// `[SEP]` is dropped.
    pub fn caption_query(
        &self,
        prompt: &[i64],
        max_new_tokens: Option<usize>,
        num_beams: usize,
    ) -> Result<CaptionQuery, QueryError> {
        let words = prompt.get(1..prompt.len().saturating_sub(1)).unwrap_or(&[]);
        let mut input_ids = vec![self.bos_token_id];
        input_ids.extend_from_slice(words);
        let max_positions = usize::try_from(self.max_position_embeddings).unwrap_or(0);
        let max_length = match max_new_tokens {
            Some(0) => return Err(QueryError::NoNewTokens),
            Some(new_tokens) => input_ids.len().saturating_add(new_tokens),
            // At least one, so that a prompt that leaves no room is rejected below.
            None => (input_ids.len() + DEFAULT_NEW_TOKENS)
                .min(max_positions)
                .max(input_ids.len() + 1),
        };
        if !(1..=MAX_BEAMS).contains(&num_beams) {
            return Err(QueryError::Beams(num_beams));
        }
        if max_length > max_positions {
            return Err(QueryError::TooLong {
                prompt_tokens: input_ids.len(),
                new_tokens: max_length - input_ids.len(),
                max_positions,
            });
        }
        Ok(CaptionQuery {
            input_ids,
            max_length,
            num_beams,
        })
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
        let query = config().caption_query(&[], None, 1).unwrap();
        assert_eq!((query.input_ids, query.max_length), (vec![7], 21));
    }

    #[test]
    fn the_prompt_loses_its_last_token_and_its_first_becomes_bos() {
        let query = config()
            .caption_query(&[101, 5, 6, 102], Some(4), 1)
            .unwrap();
        assert_eq!((query.input_ids, query.max_length), (vec![7, 5, 6], 7));
    }

    #[test]
    fn the_default_length_is_cut_to_the_models_positions_but_a_requested_length_is_not() {
        let prompt: Vec<i64> = (0..22).collect();
        let query = config().caption_query(&prompt, None, 1).unwrap();
        assert_eq!(query.max_length, 32);
        let refused = config().caption_query(&prompt, Some(20), 1).unwrap_err();
        assert!(refused.to_string().contains("32"), "{refused}");
        let full: Vec<i64> = (0..33).collect();
        assert!(config().caption_query(&full, None, 1).is_err());
        assert!(config().caption_query(&[], Some(0), 1).is_err());
        for beams in [0, MAX_BEAMS + 1, usize::MAX] {
            let refused = config().caption_query(&[], None, beams).unwrap_err();
            assert_eq!(refused, QueryError::Beams(beams));
        }
        assert!(config().caption_query(&[], Some(usize::MAX), 1).is_err());
    }
}
