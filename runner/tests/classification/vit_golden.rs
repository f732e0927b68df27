//! The golden ViT, and transformers' results for it; see `tests/golden/vit/README.md`.

use crate::support::{expected_tensor_in, picture};
use fovea_runner::image::{ImageProcessor, PixelValues, Preprocessor};
use fovea_runner::models::vit::{Vit, VitConfig};
use fovea_runner::tasks::LabelConfig;
use fovea_runner::weights::{Placement, Weights, WeightsError};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Bound on the difference of logits and hidden states, fp32.
pub(crate) const TOLERANCE: f64 = 1e-4;

/// `expected.json`.
#[derive(Deserialize)]
pub(crate) struct Expected {
    pub(crate) pictures: Vec<ExpectedPicture>,
}

#[derive(Deserialize)]
pub(crate) struct ExpectedPicture {
    pub(crate) file: String,
    pub(crate) predictions: Vec<fovea_protocol::Classification>,
}

pub(crate) fn checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vit")
}

pub(crate) fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(checkpoint().join("expected.json")).unwrap()).unwrap()
}

/// What transformers computes, a row per picture.
pub(crate) fn expected_tensor(name: &str) -> Tensor {
    expected_tensor_in(&checkpoint(), name)
}

pub(crate) fn vit(dir: &Path, placement: Placement) -> Result<Vit, WeightsError> {
    let text = std::fs::read_to_string(dir.join("config.json")).unwrap();
    let config: VitConfig = serde_json::from_str(&text).unwrap();
    let labels: LabelConfig = serde_json::from_str(&text).unwrap();
    let labels = i64::try_from(labels.labels().unwrap().len()).unwrap();
    Vit::new(&config, labels, &Weights::open(dir, placement)?, placement)
}

/// Every golden picture as our own preprocessing gives it.
pub(crate) fn pixels() -> Vec<PixelValues> {
    let preprocessor = Preprocessor::open(&checkpoint(), ImageProcessor::Vit).unwrap();
    (expected().pictures.iter())
        .map(|golden| preprocessor.run(&picture(&golden.file), 1 << 30).unwrap())
        .collect()
}
