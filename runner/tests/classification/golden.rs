//! The golden ViT, and transformers' results for it; see `tests/golden/vit/README.md`.

use crate::support::{
    self, ExpectedPredictions, expected_labels, expected_tensor_in, label_count, read,
};
use fovea_runner::image::{ImageProcessor, PixelValues};
use fovea_runner::models::vit::{Vit, VitConfig};
use fovea_runner::weights::{Placement, Weights, WeightsError};
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Bound on the difference of logits and hidden states, fp32.
pub(crate) const TOLERANCE: f64 = 1e-4;

pub(crate) fn checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vit")
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
    let pixels = |file: &str| support::pixels(&checkpoint(), ImageProcessor::Vit, file);
    expected()
        .iter()
        .map(|golden| pixels(&golden.file))
        .collect()
}
