//! The heads that turn the queries' last states into labels and boxes.

use super::DetrConfig;
use crate::inference::Object;
use crate::models::nn::{Activation, Linear};
use crate::weights::{Weights, WeightsError};
use tch::{Kind, TchError, Tensor};

/// Linear layers of the box head.
const BOX_LAYERS: i64 = 3;
/// Center's x and y, width and height.
const BOX_SIZE: i64 = 4;

/// Logits and box of every query, for a batch of pictures.
#[derive(Debug)]
pub struct Predictions {
    /// `[batch, queries, labels + 1]`; the last one is "no object".
    pub logits: Tensor,
    /// `[batch, queries, 4]`: the center's x and y, width and height, in fractions of the picture.
    pub boxes: Tensor,
}

#[derive(Debug)]
pub(super) struct Heads {
    labels: Linear,
    boxes: Vec<Linear>,
}

impl Heads {
    pub(super) fn new(
        config: &DetrConfig,
        num_labels: i64,
        weights: &Weights,
    ) -> Result<Self, WeightsError> {
        let (hidden, boxes) = (config.d_model, weights.at("bbox_predictor.layers"));
        let labels = weights.at("class_labels_classifier");
        Ok(Self {
            labels: Linear::new(hidden, num_labels + 1, &labels)?,
            boxes: (0..BOX_LAYERS)
                .map(|i| {
                    let last = i + 1 == BOX_LAYERS;
                    let output = if last { BOX_SIZE } else { hidden };
                    Linear::new(hidden, output, &boxes.at(i))
                })
                .collect::<Result<_, _>>()?,
        })
    }

    /// `[batch, queries, d_model]` to predictions.
    pub(super) fn forward(&self, xs: &Tensor) -> Result<Predictions, TchError> {
        let logits = self.labels.forward(xs)?;
        let mut boxes = xs.shallow_clone();
        for (i, layer) in self.boxes.iter().enumerate() {
            boxes = if i + 1 == self.boxes.len() {
                layer.forward(&boxes)?.f_sigmoid_()?
            } else {
                layer.forward_activated(&boxes, Activation::Relu)?
            };
        }
        Ok(Predictions { logits, boxes })
    }
}

impl Predictions {
    /// For each picture, the best label of every query, whatever its score, in the queries' order.
    pub fn objects(&self) -> Result<Vec<Vec<Object>>, TchError> {
        let (batch, queries, logits) = self.logits.size3()?;
        let (scores, labels) = (self.logits.f_softmax(-1, Kind::Float)?)
            .f_narrow(-1, 0, logits - 1)?
            .f_max_dim(-1, false)?;
        let scores = Vec::<f32>::try_from(scores.f_flatten(0, 1)?)?;
        let labels = Vec::<i64>::try_from(labels.f_flatten(0, 1)?)?;
        let boxes = Vec::<f32>::try_from(self.boxes.f_to_kind(Kind::Float)?.f_flatten(0, 2)?)?;
        let mut objects = (scores.iter().zip(&labels))
            .zip(boxes.as_chunks::<4>().0)
            .map(|((&score, &label), &[x, y, width, height])| Object {
                label: usize::try_from(label).unwrap_or(usize::MAX),
                score,
                corners: [
                    x - 0.5 * width,
                    y - 0.5 * height,
                    x + 0.5 * width,
                    y + 0.5 * height,
                ],
            });
        let queries = usize::try_from(queries).unwrap_or_default();
        Ok((0..batch)
            .map(|_| objects.by_ref().take(queries).collect())
            .collect())
    }
}
