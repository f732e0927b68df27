//! Image-to-text for BLIP: turns the prompt into tokens, and tokens into the caption.

use super::{CaptionTokenizer, TextConfig};
use crate::inference::{Answer, Query, TaskHead};
use crate::tasks::{foreign_answer, only_for};
use fovea_protocol::{InferResult, Parameters, Problem, Reason, Task};

pub(super) struct ImageToText {
    tokenizer: CaptionTokenizer,
    config: TextConfig,
}

impl ImageToText {
    pub(super) fn new(tokenizer: CaptionTokenizer, config: TextConfig) -> Self {
        Self { tokenizer, config }
    }
}

impl TaskHead for ImageToText {
    fn task(&self) -> Task {
        Task::ImageToText
    }

    fn query(&self, parameters: &Parameters) -> Result<Query, Problem> {
        only_for(self.task(), parameters)?;
        let refuse = |why: String| Problem::new(Reason::InvalidParameters, why);
        let prompt = match &parameters.prompt {
            Some(prompt) => (self.tokenizer.encode(prompt))
                .map_err(|error| refuse(format!("the prompt cannot be encoded: {error}")))?,
            None => Vec::new(),
        };
        let outside = prompt.iter().any(|&token| token >= self.config.vocab_size);
        if outside {
            return Err(refuse("the prompt has tokens that the model lacks".into()));
        }
        let max_new_tokens = parameters.max_new_tokens.map(|count| count as usize);
        let num_beams = parameters.num_beams.map_or(1, |count| count as usize);
        (self.config)
            .caption_query(&prompt, max_new_tokens, num_beams)
            .map(Query::Caption)
            .map_err(|error| refuse(error.to_string()))
    }

    fn result(
        &self,
        _query: &Query,
        answer: Answer,
        _picture: (u32, u32),
    ) -> Result<InferResult, Problem> {
        let Answer::Caption(tokens) = answer else {
            return Err(foreign_answer());
        };
        self.tokenizer
            .decode(&tokens)
            .map(InferResult::Caption)
            .map_err(|error| {
                let why = format!("the caption cannot be decoded: {error}");
                Problem::new(Reason::InferenceFailed, why)
            })
    }
}
