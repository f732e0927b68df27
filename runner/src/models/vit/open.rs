//! A ViT checkpoint's folder: what requests need of it, and how the rest is loaded.

use super::{Vit, VitConfig};
use crate::image::{ImageProcessor, Preprocessor};
use crate::inference::ModelFront;
use crate::models::{Loaded, ModelError, Opened, parse, refusal, settings};
use crate::tasks::{ImageClassification, LabelConfig};
use std::path::Path;
use std::sync::Arc;

/// Reads all of a checkpoint's folder but its weights; `text` is that of its `config.json`, which
/// lies at `path`.
pub(in crate::models) fn open(dir: &Path, text: &str, path: &Path) -> Result<Opened, ModelError> {
    let refuse = refusal(path);
    let config: VitConfig = parse(text, path)?;
    config.check().map_err(refuse)?;
    let label_config: LabelConfig = parse(text, path)?;
    let labels = label_config.labels().map_err(refuse)?;
    let count = i64::try_from(labels.len()).unwrap_or(i64::MAX);

    let preprocessor = Preprocessor::open(dir, ImageProcessor::Vit)?;
    let made = preprocessor.size();
    if !made.is(config.image_size.both()) {
        let [rows, columns] = config.image_size.both();
        return Err(refuse(format!(
            "image_size is {columns} x {rows}, but preprocessor_config.json makes {made}"
        )));
    }
    let activation = label_config.activation(labels.len());
    let front = ModelFront {
        head: Box::new(ImageClassification::new(labels, activation)),
        preprocessor,
        mixed_sizes: false,
        settings: settings(dir)?,
    };
    let dir = dir.to_owned();
    let loader = move |placement| {
        Loaded::from_folder(&dir, placement, |weights| {
            Vit::new(&config, count, weights, placement)
        })
    };
    Ok((Arc::new(front), Box::new(loader)))
}
