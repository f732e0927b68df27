//! A BLIP checkpoint's folder: what requests need of it, and how the rest is loaded.

use super::{Blip, BlipConfig};
use crate::image::Preprocessor;
use crate::models::{Loaded, Loader, Model, ModelError, ModelFront, parse};
use crate::tasks::{CaptionTokenizer, ImageToText};
use crate::weights::{Placement, Weights};
use std::path::Path;
use std::sync::Arc;

/// Reads all of a checkpoint's folder but its weights; `text` is that of its `config.json`, which
/// lies at `path`.
pub(in crate::models) fn open(
    dir: &Path,
    text: &str,
    path: &Path,
) -> Result<(Arc<ModelFront>, Loader), ModelError> {
    let refuse = |why: String| ModelError::Config {
        path: path.to_owned(),
        why,
    };
    let config: BlipConfig = parse(text, path)?;
    config.check().map_err(refuse)?;
    let preprocessor = Preprocessor::open(dir)?;
    let (height, width) = preprocessor.size();
    let side = config.vision_config.image_size;
    if i64::from(height) != side || i64::from(width) != side {
        return Err(refuse(format!(
            "vision_config.image_size is {side}, but preprocessor_config.json makes {width} x {height}"
        )));
    }
    let tokenizer = CaptionTokenizer::open(dir)?;
    let front = ModelFront {
        head: Box::new(ImageToText::new(tokenizer, config.text_config.clone())),
        preprocessor,
    };
    let dir = dir.to_owned();
    let loader = move |device| {
        let placement = Placement {
            device,
            ..Placement::CPU
        };
        let weights = Weights::open(&dir, placement)?;
        let model = Blip::new(&config, &weights, placement)?;
        tracing::debug!(unused = ?weights.unused(), "weights loaded");
        Ok(Loaded {
            model: Box::new(model) as Box<dyn Model>,
            revision: weights.revision()?,
        })
    };
    Ok((Arc::new(front), Box::new(loader)))
}
