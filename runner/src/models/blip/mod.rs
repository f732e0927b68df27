//! BLIP captioning (Li et al. 2022, <https://arxiv.org/abs/2201.12086>): a vision transformer
//! looks at the picture, and a BERT decoder with cross-attention writes the caption.
//!
//! Modelled on transformers' `BlipForConditionalGeneration`; tensor names are those of its
//! checkpoints (`Salesforce/blip-image-captioning-base`).

mod config;
mod generate;
mod open;
mod text;
mod vision;

pub use config::{BlipConfig, TextConfig, VisionConfig};
pub use generate::{CaptionAsk, Generated};
pub(super) use open::open;
pub use text::{KeyValueCache, TextDecoder};
pub use vision::VisionModel;

use super::{Answer, Ask, Item, Model};
use crate::weights::{Placement, Weights, WeightsError};
use tch::{TchError, Tensor};

/// A captioning model on its device.
#[derive(Debug)]
pub struct Blip {
    vision: VisionModel,
    decoder: TextDecoder,
    config: BlipConfig,
    placement: Placement,
}

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
        })
    }

    /// The vision encoder.
    pub fn vision(&self) -> &VisionModel {
        &self.vision
    }

    /// The text decoder.
    pub fn decoder(&self) -> &TextDecoder {
        &self.decoder
    }

    /// The pictures of `items` as `[batch, 3, height, width]` on the device.
    fn pixel_values(&self, items: &[Item]) -> Result<Tensor, TchError> {
        let pictures = items
            .iter()
            .map(|item| {
                let [channels, height, width] = item.pixels.shape();
                Tensor::f_from_slice(item.pixels.values())?.f_reshape([channels, height, width])
            })
            .collect::<Result<Vec<_>, _>>()?;
        Tensor::f_stack(&pictures, 0)?.f_to_device(self.placement.device)
    }
}

impl Model for Blip {
    fn run(
        &self,
        items: &[Item],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Answer>, TchError> {
        let asks: Vec<&CaptionAsk> = items
            .iter()
            .map(
                |Item {
                     ask: Ask::Caption(ask),
                     ..
                 }| ask,
            )
            .collect();
        let generated = self.generate(&self.pixel_values(items)?, &asks, dropped)?;
        Ok(generated
            .into_iter()
            .map(|Generated { tokens }| Answer::Caption(tokens))
            .collect())
    }
}
