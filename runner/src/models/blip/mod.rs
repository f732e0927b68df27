//! BLIP captioning (Li et al. 2022, <https://arxiv.org/abs/2201.12086>): a vision transformer
//! looks at the picture, and a BERT decoder with cross-attention writes the caption.
//!
//! Modelled on transformers' `BlipForConditionalGeneration`; tensor names are those of its
//! checkpoints (`Salesforce/blip-image-captioning-base`).

mod beam;
mod cache;
mod config;
mod generate;
mod greedy;
mod head;
mod open;
mod query;
mod text;
mod tokenizer;
mod vision;

pub use cache::KeyValueCache;
pub use config::{BlipConfig, TextConfig, VisionConfig};
pub use generate::Generated;
pub(super) use open::open;
pub use query::QueryError;
pub use text::TextDecoder;
pub use tokenizer::{CaptionTokenizer, TokenizerError};
pub use vision::VisionModel;

use super::stack;
use crate::inference::{Answer, Item, Model, ModelFault, Query};
use crate::weights::{Placement, Weights, WeightsError};
use tch::Device;

/// A captioning model on its device.
#[derive(Debug)]
pub struct Blip {
    vision: VisionModel,
    decoder: TextDecoder,
    config: BlipConfig,
    placement: Placement,
    look_every: usize,
}

/// Tokens that a GPU writes before the host looks at them, which waits for the device: so many
/// steps at most are lost on captions that have ended.
const GPU_LOOKS_EVERY: usize = 8;

impl Blip {
    /// Loads every tensor to `placement`, which is the one `weights` was opened for.
    pub fn new(
        config: &BlipConfig,
        weights: &Weights,
        placement: Placement,
    ) -> Result<Self, WeightsError> {
        Ok(Self {
            vision: VisionModel::new(&config.vision_config, &weights.at("vision_model"))?,
            decoder: TextDecoder::new(
                &config.text_config,
                config.vision_config.hidden_size,
                &weights.at("text_decoder"),
            )?,
            config: config.clone(),
            placement,
            // On a CPU a look costs nothing.
            look_every: if placement.device == Device::Cpu {
                1
            } else {
                GPU_LOOKS_EVERY
            },
        })
    }

    /// Has the host look at what is written greedily every so many steps, at least at each.
    #[must_use]
    pub fn look_every(self, steps: usize) -> Self {
        Self {
            look_every: steps.max(1),
            ..self
        }
    }

    pub fn vision(&self) -> &VisionModel {
        &self.vision
    }

    pub fn decoder(&self) -> &TextDecoder {
        &self.decoder
    }
}

impl Model for Blip {
    fn run(
        &self,
        items: &[Item],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Answer>, ModelFault> {
        let queries = (items.iter())
            .map(|item| match &item.query {
                Query::Caption(query) => Ok(query),
                other => Err(ModelFault::foreign(other)),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let generated = self.generate(&stack(items, self.placement)?, &queries, dropped)?;
        Ok(generated
            .into_iter()
            .map(|Generated { tokens }| Answer::Caption(tokens))
            .collect())
    }
}
