//! Classification by a residual network: an average over its feature map, and a linear layer.
//!
//! Modelled on transformers' `ResNetForImageClassification`; tensor names are those of its
//! checkpoints (`microsoft/resnet-50`).

mod backbone;
mod config;
mod names;
mod open;

pub use backbone::Backbone;
pub use config::{LayerType, ResNetConfig};
pub use names::Naming;
pub(super) use open::open;

use super::classify;
use super::nn::Linear;
use crate::inference::{Answer, Item, Model, ModelFault};
use crate::weights::{Placement, Weights, WeightsError};
use tch::{TchError, Tensor};

/// A classifier on its device.
#[derive(Debug)]
pub struct ResNet {
    backbone: Backbone,
    classifier: Linear,
    placement: Placement,
}

impl ResNet {
    /// Loads every tensor to `placement`, which is the one `weights` was opened for; `labels`: how
    /// many there are. `picture`: height and width where all pictures have the same, which makes
    /// them faster, and others slower.
    pub fn new(
        config: &ResNetConfig,
        labels: i64,
        picture: Option<[i64; 2]>,
        weights: &Weights,
        placement: Placement,
    ) -> Result<Self, WeightsError> {
        let backbone = weights.at("resnet");
        let classifier = weights.at("classifier.1");
        Ok(Self {
            backbone: Backbone::new(config, Naming::Transformers, false, picture, &backbone)?,
            classifier: Linear::new(config.output_size(), labels, &classifier)?,
            placement,
        })
    }

    /// The network below the classifier.
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// `pixel_values` `[batch, 3, height, width]` to `[batch, labels]`.
    pub fn logits(&self, pixel_values: &Tensor) -> Result<Tensor, TchError> {
        let _no_grad = tch::no_grad_guard();
        let features = self.backbone.forward(pixel_values)?;
        let pooled = features.f_mean_dim([2i64, 3].as_slice(), false, features.kind())?;
        self.classifier.forward(&pooled)
    }
}

impl Model for ResNet {
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
