//! The golden checkpoints and what transformers made of them; see their README.md.

use crate::support::{Tensors, expected_tensor_in, picture, read_tensors, write_tensors};
use fovea_runner::image::{ImageProcessor, PixelValues, Preprocessor};
use fovea_runner::models::detr::{Detr, DetrConfig, Network};
use fovea_runner::models::nn::Activation;
use fovea_runner::models::resnet::{LayerType, ResNet, ResNetConfig};
use fovea_runner::tasks::LabelConfig;
use fovea_runner::weights::{Placement, Weights, WeightsError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

/// Feature maps, logits and boxes may differ by so much, fp32.
pub(crate) const TOLERANCE: f64 = 1e-4;

/// Half the numbers' bits, on the CPU.
pub(crate) const BF16: Placement = Placement {
    device: Device::Cpu,
    kind: Kind::BFloat16,
};

/// A golden checkpoint's folder.
pub(crate) fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A file of JSON in a folder.
pub(crate) fn read<T: DeserializeOwned>(dir: &Path, file: &str) -> T {
    serde_json::from_slice(&std::fs::read(dir.join(file)).unwrap()).unwrap()
}

fn label_count(dir: &Path) -> i64 {
    let labels: LabelConfig = read(dir, "config.json");
    i64::try_from(labels.labels().unwrap().len()).unwrap()
}

/// Has this test compute on its own thread: hundreds of tiny passes, in as many tests at once as
/// there are processors, would wait for one another's threads most of the time.
fn alone() {
    tch::set_num_threads(1);
}

/// The classifier in `dir`.
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

/// The detector in `dir`.
pub(crate) fn detr(dir: &Path, placement: Placement) -> Result<Detr, WeightsError> {
    alone();
    let config: DetrConfig = read(dir, "config.json");
    let network = config.network().unwrap_or_else(|_| tiny_of_timm());
    let weights = Weights::open(dir, placement)?;
    Detr::new(&config, &network, label_count(dir), &weights, placement)
}

/// The network that `models/parity/goldens_detr.py` has timm make: no name stands for it.
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

/// What transformers computes for the picture so far down the list; those of one size have one
/// tensor, those of several have one each.
pub(crate) fn expected_of(dir: &Path, name: &str, row: usize) -> Tensor {
    expected_tensor_in(dir, &format!("{name}.{row}"))
}

/// The picture as our own preprocessing gives it.
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
    let (dir, from) = (tempfile::tempdir().unwrap(), checkpoint(golden));
    let mut tensors = read_tensors(&from);
    change(&mut tensors);
    write_tensors(&tensors, dir.path());
    let mut config: Value = read(&from, "config.json");
    for (place, value) in settings {
        *config.pointer_mut(place).unwrap() = value.clone();
    }
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let name = "preprocessor_config.json";
    std::fs::copy(from.join(name), dir.path().join(name)).unwrap();
    dir
}

/// Adds to every number of the 32-bit tensors whose names end so.
pub(crate) fn add(tensors: &mut Tensors, end: &str, summand: f32) {
    let named = tensors.iter_mut().filter(|(name, _)| name.ends_with(end));
    for (_, (_, _, data)) in named {
        for bytes in data.chunks_exact_mut(4) {
            let number = f32::from_le_bytes(bytes.try_into().unwrap());
            bytes.copy_from_slice(&(number + summand).to_le_bytes());
        }
    }
}

/// Swaps the tensors whose names differ only in these parts.
pub(crate) fn swap(tensors: &mut Tensors, first: &str, second: &str) {
    let names: Vec<String> = (tensors.keys().filter(|name| name.contains(first)))
        .cloned()
        .collect();
    assert!(!names.is_empty(), "{first}");
    for name in names {
        let other = name.replace(first, second);
        let (a, b) = (tensors[&name].clone(), tensors[&other].clone());
        tensors.insert(name, b);
        tensors.insert(other, a);
    }
}

/// Whether a checkpoint of this tensor alone lacks nothing: torch counts batches, nobody reads it.
pub(crate) fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}
