//! A residual network's folder: what requests need of it, and how the rest is loaded.

use super::{ResNet, ResNetConfig};
use crate::image::{ImageProcessor, OutputSize, Preprocessor};
use crate::inference::ModelFront;
use crate::models::{Loaded, ModelError, Opened, parse, refusal, settings};
use crate::tasks::{ImageClassification, LabelConfig};
use std::path::Path;
use std::sync::Arc;

/// Reads all of a checkpoint's folder but its weights; `text` is that of its `config.json`, which
/// lies at `path`.
pub(in crate::models) fn open(dir: &Path, text: &str, path: &Path) -> Result<Opened, ModelError> {
    let refuse = refusal(path);
    let config: ResNetConfig = parse(text, path)?;
    config.check().map_err(refuse)?;
    let label_config: LabelConfig = parse(text, path)?;
    let labels = label_config.labels().map_err(refuse)?;
    let count = i64::try_from(labels.len()).unwrap_or(i64::MAX);
    let activation = label_config.activation(labels.len());
    let preprocessor = Preprocessor::open(dir, ImageProcessor::ConvNext)?;
    let picture = match preprocessor.size() {
        OutputSize::Exact { height, width } => Some([height.into(), width.into()]),
        OutputSize::Edges { .. } => None,
    };
    let front = ModelFront {
        head: Box::new(ImageClassification::new(labels, activation)),
        preprocessor,
        mixed_sizes: false,
        settings: settings(dir)?,
    };
    let dir = dir.to_owned();
    let loader = move |placement| {
        Loaded::from_folder(&dir, placement, |weights| {
            ResNet::new(&config, count, picture, weights, placement)
        })
    };
    Ok((Arc::new(front), Box::new(loader)))
}
