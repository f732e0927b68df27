//! A DETR checkpoint's folder: what requests need of it, and how the rest is loaded.

use super::{Detr, DetrConfig};
use crate::image::{ImageProcessor, Preprocessor};
use crate::inference::ModelFront;
use crate::models::{Loaded, ModelError, Opened, parse, refusal, settings};
use crate::tasks::{LabelConfig, ObjectDetection};
use std::path::Path;
use std::sync::Arc;

/// Reads all of a checkpoint's folder but its weights; `text` is that of its `config.json`, which
/// lies at `path`.
pub(in crate::models) fn open(dir: &Path, text: &str, path: &Path) -> Result<Opened, ModelError> {
    let refuse = refusal(path);
    let config: DetrConfig = parse(text, path)?;
    config.check().map_err(refuse)?;
    let network = config.network().map_err(refuse)?;
    let labels = (parse::<LabelConfig>(text, path)?.labels()).map_err(refuse)?;
    let count = i64::try_from(labels.len()).unwrap_or(i64::MAX);
    let front = ModelFront {
        head: Box::new(ObjectDetection::new(labels)),
        preprocessor: Preprocessor::open(dir, ImageProcessor::Detr)?,
        mixed_sizes: false,
        settings: settings(dir)?,
    };
    let dir = dir.to_owned();
    let loader = move |placement| {
        Loaded::from_folder(&dir, placement, |weights| {
            Detr::new(&config, &network, count, weights, placement)
        })
    };
    Ok((Arc::new(front), Box::new(loader)))
}
