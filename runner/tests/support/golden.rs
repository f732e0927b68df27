//! The golden checkpoints by name, and what transformers made of them; see their README.md.

use super::{Tensors, changed_copy, expected_tensor_in, picture, read_tensors};
use fovea_protocol::Classification;
use fovea_runner::image::{ImageProcessor, PixelValues, Preprocessor};
use fovea_runner::tasks::LabelConfig;
use fovea_runner::weights::Placement;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

/// Bound on the difference of hidden states, feature maps, logits and boxes, fp32.
pub(crate) const TOLERANCE: f64 = 1e-4;

pub(crate) const BF16: Placement = Placement {
    device: Device::Cpu,
    kind: Kind::BFloat16,
};

pub(crate) fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}"))
}

/// A JSON file of a checkpoint's folder.
pub(crate) fn read<T: DeserializeOwned>(dir: &Path, file: &str) -> T {
    serde_json::from_slice(&std::fs::read(dir.join(file)).unwrap()).unwrap()
}

/// The number of labels of a checkpoint's folder.
pub(crate) fn label_count(dir: &Path) -> i64 {
    let labels: LabelConfig = read(dir, "config.json");
    i64::try_from(labels.labels().unwrap().len()).unwrap()
}

/// `expected.json` of a classifier.
#[derive(Deserialize)]
struct ExpectedLabels {
    pictures: Vec<ExpectedPredictions>,
}

#[derive(Deserialize)]
pub(crate) struct ExpectedPredictions {
    pub(crate) file: String,
    pub(crate) predictions: Vec<Classification>,
}

pub(crate) fn expected_labels(dir: &Path) -> Vec<ExpectedPredictions> {
    read::<ExpectedLabels>(dir, "expected.json").pictures
}

/// Computes on the test's own thread: the tiny passes of parallel tests would mostly wait for one
/// another's threads.
pub(crate) fn alone() {
    tch::set_num_threads(1);
}

/// What transformers computes for picture number `row`, where pictures differ in size.
pub(crate) fn expected_of(dir: &Path, name: &str, row: usize) -> Tensor {
    expected_tensor_in(dir, &format!("{name}.{row}"))
}

/// The picture as our own preprocessing of a checkpoint's folder gives it.
pub(crate) fn pixels(dir: &Path, processor: ImageProcessor, file: &str) -> PixelValues {
    let preprocessor = Preprocessor::open(dir, processor).unwrap();
    preprocessor.run(&picture(file), 1 << 30).unwrap()
}

/// A golden checkpoint with other tensors and other settings.
pub(crate) fn changed(
    golden: &str,
    change: impl FnOnce(&mut Tensors),
    settings: &[(&str, Value)],
) -> TempDir {
    changed_copy(&checkpoint(golden), change, settings)
}

/// Names of a golden checkpoint's tensors, without torch's counters.
pub(crate) fn parameters(golden: &str) -> Vec<String> {
    (read_tensors(&checkpoint(golden)).into_keys())
        .filter(|name| !is_counter(name))
        .collect()
}

/// Whether it is torch's counter of batches, which no model reads.
pub(crate) fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}
