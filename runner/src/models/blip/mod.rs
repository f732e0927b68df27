//! BLIP captioning (Li et al. 2022, <https://arxiv.org/abs/2201.12086>): a vision transformer
//! encodes the picture, and a BERT decoder with cross-attention generates the caption.
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
    sync_every: usize,
}

/// Steps that a GPU generates before the host reads the tokens, which waits for the device. Up to
/// this many steps are wasted on captions that have ended.
const GPU_SYNC_STEPS: usize = 8;

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
            // On a CPU reading costs nothing.
            sync_every: if placement.device == Device::Cpu {
                1
            } else {
                GPU_SYNC_STEPS
            },
        })
    }

    /// Sets how many greedy steps run before the host reads the tokens; at least 1.
    #[must_use]
    pub fn sync_every(self, steps: usize) -> Self {
        Self {
            sync_every: steps.max(1),
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
        Ok(generated.into_iter().map(Answer::Caption).collect())
    }
}
