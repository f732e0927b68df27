//! DETR, detection by a transformer (Carion et al. 2020, <https://arxiv.org/abs/2005.12872>): a
//! residual network extracts features, an encoder relates their positions to one another, and each
//! query of a decoder detects one object.
//!
//! Modelled on transformers' `DetrForObjectDetection`; tensor names are those of its checkpoints
//! (`facebook/detr-resnet-50`), the backbone's also by timm.
//!
//! A batch has pictures of one size. Padding them to a common one was measured and lost on the
//! CPU, and without it a picture's result cannot depend on its neighbours.

mod config;
mod decoder;
mod encoder;
mod heads;
mod layers;
mod open;
mod positions;

pub use config::{BackboneConfig, DetrConfig, Network, PositionEmbedding};
pub use heads::Predictions;
pub(super) use open::open;

use super::nn::Linear;
use super::resnet::{Backbone, Naming};
use super::stack;
use crate::inference::{Answer, Item, Model, ModelFault, Query};
use crate::weights::{Placement, Weights, WeightsError};
use decoder::Decoder;
use encoder::Encoder;
use heads::Heads;
use positions::sine_positions;
use tch::{TchError, Tensor};

/// A detector on its device.
#[derive(Debug)]
pub struct Detr {
    backbone: Backbone,
    input_projection: Linear,
    encoder: Encoder,
    decoder: Decoder,
    heads: Heads,
    d_model: i64,
    placement: Placement,
}

impl Detr {
    /// Loads every tensor to `placement`, which is the one `weights` was opened for; `network` is
    /// the configuration's, and `num_labels` how many labels there are beside "no object".
    pub fn new(
        config: &DetrConfig,
        network: &Network,
        num_labels: i64,
        weights: &Weights,
        placement: Placement,
    ) -> Result<Self, WeightsError> {
        let Network {
            config: resnet,
            dilate_last,
        } = network;
        let model = weights.at("model");
        let backbone = model.at("backbone.conv_encoder.model");
        let naming = Naming::of(&backbone);
        Ok(Self {
            backbone: Backbone::new(resnet, naming, *dilate_last, None, &backbone)?,
            input_projection: Linear::of_convolution(
                resnet.output_size(),
                config.d_model,
                &model.at("input_projection"),
            )?,
            encoder: Encoder::new(config, &model.at("encoder"))?,
            decoder: Decoder::new(config, &model)?,
            heads: Heads::new(config, num_labels, weights)?,
            d_model: config.d_model,
            placement,
        })
    }

    /// The network below the transformer.
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// `pixel_values` `[batch, 3, height, width]` to the predictions of every query.
    pub fn forward(&self, pixel_values: &Tensor) -> Result<Predictions, TchError> {
        let _no_grad = tch::no_grad_guard();
        self.detect(&self.backbone.forward(pixel_values)?)
    }

    /// The backbone's feature map to the predictions of every query.
    pub fn detect(&self, features: &Tensor) -> Result<Predictions, TchError> {
        let (_, _, height, width) = features.size4()?;
        // [batch, places, channels], the memory layout of channels-last features.
        let features = features.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let positions = sine_positions([height, width], self.d_model, self.placement)?;
        let places = self.input_projection.forward(&features)?;
        let memory = self.encoder.forward(places, &positions)?;
        self.heads
            .forward(&self.decoder.forward(&memory, &positions)?)
    }
}

impl Model for Detr {
    fn run(
        &self,
        items: &[Item],
        _dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Answer>, ModelFault> {
        for item in items {
            let Query::Detect { .. } = &item.query else {
                return Err(ModelFault::foreign(&item.query));
            };
        }
        let predictions = self.forward(&stack(items, self.placement)?)?;
        let objects = predictions.objects()?;
        Ok(objects.into_iter().map(Answer::Objects).collect())
    }
}
