//! The golden checkpoints and what transformers made of them; see their README.md.

use crate::support::{Tensors, changed_copy, expected_tensor_in, label_count, read, read_tensors};
use fovea_runner::models::detr::{Detr, DetrConfig, Network};
use fovea_runner::models::nn::Activation;
use fovea_runner::models::resnet::{LayerType, ResNet, ResNetConfig};
use fovea_runner::weights::{Placement, Weights, WeightsError};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tch::Tensor;
use tempfile::TempDir;

/// Bound on the difference of feature maps, logits and boxes, fp32.
pub(crate) const TOLERANCE: f64 = 1e-4;

pub(crate) fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}"))
}

/// Computes on the test's own thread: the tiny passes of parallel tests would mostly wait for one
/// another's threads.
fn alone() {
    tch::set_num_threads(1);
}

pub(crate) fn resnet(dir: &Path, placement: Placement) -> Result<ResNet, WeightsError> {
    resnet_for(dir, None, placement)
}

/// The classifier in `dir`, for pictures of this height and width.
pub(crate) fn resnet_for(
    dir: &Path,
    picture: Option<[i64; 2]>,
    placement: Placement,
) -> Result<ResNet, WeightsError> {
    alone();
    let config: ResNetConfig = read(dir, "config.json");
    let weights = Weights::open(dir, placement)?;
    ResNet::new(&config, label_count(dir), picture, &weights, placement)
}

pub(crate) fn detr(dir: &Path, placement: Placement) -> Result<Detr, WeightsError> {
    alone();
    let config: DetrConfig = read(dir, "config.json");
    let network = config.network().unwrap_or_else(|_| tiny_of_timm());
    let weights = Weights::open(dir, placement)?;
    Detr::new(&config, &network, label_count(dir), &weights, placement)
}

/// The network that `models/parity/goldens_detr.py` makes with timm; it has no name there.
fn tiny_of_timm() -> Network {
    Network {
        config: ResNetConfig {
            hidden_sizes: vec![16, 32, 48, 64],
            depths: vec![1, 1, 1, 2],
            layer_type: LayerType::Bottleneck,
            hidden_act: Activation::Relu,
            ..ResNetConfig::default()
        },
        dilate_last: true,
    }
}

/// What transformers computes for picture number `row`, where pictures differ in size.
pub(crate) fn expected_of(dir: &Path, name: &str, row: usize) -> Tensor {
    expected_tensor_in(dir, &format!("{name}.{row}"))
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
