//! One row of a batch's results, as runners write it.

use fovea_crds::{Detection, JobResult, Prediction, ServedModel};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The row of one picture.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) caption: Option<String>,
    #[serde(default)]
    pub(crate) predictions: Option<Vec<Prediction>>,
    #[serde(default)]
    pub(crate) detections: Option<Vec<Detection>>,
    #[serde(default)]
    pub(crate) error: Option<RowError>,
    #[serde(default)]
    pub(crate) sha256: Option<String>,
    #[serde(default)]
    pub(crate) width: Option<u32>,
    #[serde(default)]
    pub(crate) height: Option<u32>,
    #[serde(default)]
    pub(crate) model: Option<ServedModel>,
    /// What lies beside the picture in its archive.
    #[serde(default)]
    pub(crate) meta: Map<String, Value>,
}

/// Why a picture has no result.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct RowError {
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Row {
    /// The row of a single picture's job.
    pub(crate) fn of(id: &str, key: &str, result: JobResult, model: Option<ServedModel>) -> Self {
        let mut row = Self {
            id: id.to_owned(),
            key: key.to_owned(),
            model,
            ..Self::default()
        };
        match result {
            JobResult::Caption(caption) => row.caption = Some(caption),
            JobResult::Predictions(predictions) => row.predictions = Some(predictions),
            JobResult::Detections(detections) => row.detections = Some(detections),
        }
        row
    }
}
