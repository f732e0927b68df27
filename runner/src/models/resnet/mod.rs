//! Classification by a residual network: an average over its feature map, and a linear layer.
//!
//! Modelled on transformers' `ResNetForImageClassification`; tensor names are those of its
//! checkpoints (`microsoft/resnet-50`).

mod backbone;
mod config;
mod names;

pub use backbone::Backbone;
pub use config::{LayerType, ResNetConfig};
pub use names::Naming;

use crate::models::nn::Linear;
use crate::weights::{Weights, WeightsError};
use tch::{TchError, Tensor};

/// A classifier on its device.
#[derive(Debug)]
pub struct ResNet {
    backbone: Backbone,
    classifier: Linear,
}

impl ResNet {
    /// Loads every tensor to where `weights` was opened for.
    pub fn new(
        config: &ResNetConfig,
        num_labels: i64,
        weights: &Weights,
    ) -> Result<Self, WeightsError> {
        let backbone = weights.at("resnet");
        let classifier = weights.at("classifier.1");
        Ok(Self {
            backbone: Backbone::new(config, Naming::Transformers, false, &backbone)?,
            classifier: Linear::new(config.output_size(), num_labels, &classifier)?,
        })
    }

    /// Lays the weights out for pictures of this height and width, which makes them faster, and
    /// others slower.
    pub fn settle(&mut self, picture: [i64; 2]) -> Result<(), TchError> {
        self.backbone.settle(picture)
    }

    /// The network below the classifier.
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// `pixel_values` `[batch, 3, height, width]` to `[batch, labels]`.
    pub fn logits(&self, pixel_values: &Tensor) -> Result<Tensor, TchError> {
        let features = self.backbone.forward(pixel_values)?;
        let pooled = features.f_mean_dim([2i64, 3].as_slice(), false, features.kind())?;
        self.classifier.forward(&pooled)
    }
}
