//! A BLIP checkpoint's folder: what requests need of it, and how the rest is loaded.

use super::head::ImageToText;
use super::{Blip, BlipConfig, CaptionTokenizer};
use crate::image::{ImageProcessor, Preprocessor};
use crate::inference::ModelFront;
use crate::models::{Loaded, ModelError, Opened, parse, refusal, settings};
use std::path::Path;
use std::sync::Arc;

/// Reads all of a checkpoint's folder but its weights; `text` is that of its `config.json`, which
/// lies at `path`.
pub(in crate::models) fn open(dir: &Path, text: &str, path: &Path) -> Result<Opened, ModelError> {
    let refuse = refusal(path);
    let config: BlipConfig = parse(text, path)?;
    config.check().map_err(refuse)?;
    let preprocessor = Preprocessor::open(dir, ImageProcessor::Blip)?;
    let side = config.vision_config.image_size;
    let made = preprocessor.size();
    if !made.is([side, side]) {
        return Err(refuse(format!(
            "vision_config.image_size is {side}, but preprocessor_config.json makes {made}"
        )));
    }
    let tokenizer = CaptionTokenizer::open(dir)?;
    let front = ModelFront {
        head: Box::new(ImageToText::new(tokenizer, config.text_config.clone())),
        preprocessor,
        mixed_sizes: false,
        settings: settings(dir)?,
    };
    let dir = dir.to_owned();
    let loader = move |placement| {
        Loaded::from_folder(&dir, placement, |weights| {
            Blip::new(&config, weights, placement)
        })
    };
    Ok((Arc::new(front), Box::new(loader)))
}
