//! What comes out of a task, as a status holds it.

use crate::{
    bounds::{MAX_CAPTION_LENGTH, MAX_CLASS_LABEL_LENGTH, MAX_DETECTIONS, MAX_PREDICTIONS},
    schema,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A result, one form a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::exactly_one)]
pub enum JobResult {
    /// image-to-text: the picture in words.
    Caption(#[schemars(length(max = MAX_CAPTION_LENGTH))] String),
    /// image-classification: labels, best first.
    Predictions(#[schemars(length(max = MAX_PREDICTIONS))] Vec<Prediction>),
    /// object-detection: objects, best first.
    Detections(#[schemars(length(max = MAX_DETECTIONS))] Vec<Detection>),
}

/// One label of a classification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// From the model's `id2label`.
    #[schemars(length(max = MAX_CLASS_LABEL_LENGTH))]
    pub label: String,
    /// 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score: f32,
}

/// One object that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detection {
    /// From the model's `id2label`.
    #[schemars(length(max = MAX_CLASS_LABEL_LENGTH))]
    pub label: String,
    /// 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score: f32,
    /// Where it is.
    #[serde(rename = "box")]
    pub bounding_box: BoundingBox,
}

/// In pixels of the upright picture, origin at its top left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BoundingBox {
    /// Left edge.
    pub xmin: f32,
    /// Top edge.
    pub ymin: f32,
    /// Right edge.
    pub xmax: f32,
    /// Bottom edge.
    pub ymax: f32,
}
