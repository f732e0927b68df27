//! DETR from its golden checkpoints.

use crate::support::golden::{alone, label_count, read};
use fovea_runner::models::detr::{Detr, DetrConfig, Network};
use fovea_runner::models::nn::Activation;
use fovea_runner::models::resnet::{LayerType, ResNetConfig};
use fovea_runner::weights::{Placement, Weights, WeightsError};
use std::path::Path;

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
