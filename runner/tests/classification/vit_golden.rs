//! The golden ViT, and transformers' results for it; see `tests/golden/vit/README.md`.

use crate::support::expected_tensor_in;
use crate::support::golden::{self, ExpectedPredictions, expected_labels, label_count, read};
use fovea_runner::image::{ImageProcessor, PixelValues};
use fovea_runner::models::vit::{Vit, VitConfig};
use fovea_runner::weights::{Placement, Weights, WeightsError};
use std::path::{Path, PathBuf};
use tch::Tensor;

pub(crate) fn checkpoint() -> PathBuf {
    golden::checkpoint("vit")
}

pub(crate) fn expected() -> Vec<ExpectedPredictions> {
    expected_labels(&checkpoint())
}

/// What transformers computes, a row per picture.
pub(crate) fn expected_tensor(name: &str) -> Tensor {
    expected_tensor_in(&checkpoint(), name)
}

pub(crate) fn vit(dir: &Path, placement: Placement) -> Result<Vit, WeightsError> {
    let (config, labels): (VitConfig, i64) = (read(dir, "config.json"), label_count(dir));
    Vit::new(&config, labels, &Weights::open(dir, placement)?, placement)
}

/// Every golden picture as our own preprocessing gives it.
pub(crate) fn pixels() -> Vec<PixelValues> {
    let pixels = |file: &str| golden::pixels(&checkpoint(), ImageProcessor::Vit, file);
    expected()
        .iter()
        .map(|picture| pixels(&picture.file))
        .collect()
}
