//! The vision transformer (Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>) as a
//! classifier: pre-norm blocks over patches, and a linear layer on the class token.
//!
//! Modelled on transformers' `ViTForImageClassification`; tensor names are those of its
//! checkpoints (`google/vit-base-patch16-224`).

mod config;
mod layers;
mod names;
mod open;

pub use config::{Sides, VitConfig};
pub(super) use open::open;

use super::classify;
use super::nn::{LayerNorm, Linear};
use crate::inference::{Answer, Item, Model, ModelFault};
use crate::weights::{Placement, Weights, WeightsError};
use layers::{VitEmbeddings, VitLayer};
use names::LayerNames;
use tch::{TchError, Tensor};

/// A classifier on its device.
#[derive(Debug)]
pub struct Vit {
    embeddings: VitEmbeddings,
    layers: Vec<VitLayer>,
    layernorm: LayerNorm,
    classifier: Linear,
    placement: Placement,
}

impl Vit {
    /// Loads every tensor to `placement`, which is the one `weights` was opened for; `labels`: how
    /// many there are.
    pub fn new(
        config: &VitConfig,
        labels: i64,
        weights: &Weights,
        placement: Placement,
    ) -> Result<Self, WeightsError> {
        let (hidden, vit) = (config.hidden_size, weights.at("vit"));
        let names = LayerNames::of(&vit);
        let layers = vit.at(names.layers);
        Ok(Self {
            embeddings: VitEmbeddings::new(config, &vit.at("embeddings"))?,
            layers: (0..config.num_hidden_layers)
                .map(|i| {
                    let last = i + 1 == config.num_hidden_layers;
                    VitLayer::new(config, last, &layers.at(i), names)
                })
                .collect::<Result<_, _>>()?,
            layernorm: LayerNorm::new(hidden, config.layer_norm_eps, &vit.at("layernorm"))?,
            classifier: Linear::new(hidden, labels, &weights.at("classifier"))?,
            placement,
        })
    }

    /// `pixel_values` `[batch, 3, height, width]`, of the configuration's size, to the last hidden
    /// state `[batch, positions, hidden_size]`, normalised.
    pub fn last_hidden_state(&self, pixel_values: &Tensor) -> Result<Tensor, TchError> {
        let xs = self.embeddings.forward(pixel_values)?;
        let positions = xs.size3()?.1;
        self.encode(xs, positions)
    }

    /// `pixel_values` as above to a logit for every label, `[batch, labels]`.
    pub fn logits(&self, pixel_values: &Tensor) -> Result<Tensor, TchError> {
        let _no_grad = tch::no_grad_guard();
        // The classifier sees the class token alone, so the last block need not write another.
        let class_token = self.encode(self.embeddings.forward(pixel_values)?, 1)?;
        self.classifier.forward(&class_token.f_select(1, 0)?)
    }

    /// Embeddings to the first `positions` of the last hidden state.
    fn encode(&self, mut xs: Tensor, positions: i64) -> Result<Tensor, TchError> {
        let all = xs.size3()?.1;
        for (i, layer) in self.layers.iter().enumerate() {
            let last = i + 1 == self.layers.len();
            xs = layer.forward(&xs, if last { positions } else { all })?;
        }
        self.layernorm.forward(&xs)
    }
}

impl Model for Vit {
    fn run(
        &self,
        items: &[Item],
        _dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Answer>, ModelFault> {
        classify(items, self.placement, |pixel_values| {
            self.logits(pixel_values)
        })
    }
}
