//! Residual networks from their golden checkpoints.

use crate::support::golden::{alone, label_count, read};
use fovea_runner::models::resnet::{ResNet, ResNetConfig};
use fovea_runner::weights::{Placement, Weights, WeightsError};
use std::path::Path;

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
