//! Results of the tasks, as a status holds them.

use crate::{
    bounds::{MAX_CAPTION_LENGTH, MAX_CLASS_LABEL_LENGTH, MAX_DETECTIONS, MAX_PREDICTIONS},
    schema,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Result of a task. Exactly one field is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::one_property)]
pub enum JobResult {
    /// image-to-text: the caption.
    Caption(#[schemars(length(max = MAX_CAPTION_LENGTH))] String),
    /// image-classification: labels, highest score first.
    Predictions(#[schemars(length(max = MAX_PREDICTIONS))] Vec<Prediction>),
    /// object-detection: objects, in the order of the model's queries.
    Detections(#[schemars(length(max = MAX_DETECTIONS))] Vec<Detection>),
}

/// A label with its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// Label from the model's `id2label`.
    #[schemars(length(max = MAX_CLASS_LABEL_LENGTH))]
    pub label: String,
    /// Score from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score: f32,
}

/// An object that was detected in the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detection {
    /// Label from the model's `id2label`.
    #[schemars(length(max = MAX_CLASS_LABEL_LENGTH))]
    pub label: String,
    /// Score from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score: f32,
    /// Bounding box of the object.
    #[serde(rename = "box")]
    pub bounding_box: BoundingBox,
}

/// Bounding box in pixels of the upright picture; the origin is its top left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BoundingBox {
    /// Left edge, in pixels from the picture's left edge.
    pub xmin: f32,
    /// Top edge, in pixels from the picture's top edge.
    pub ymin: f32,
    /// Right edge, in pixels from the picture's left edge.
    pub xmax: f32,
    /// Bottom edge, in pixels from the picture's top edge.
    pub ymax: f32,
}
