//! The model families: which one a checkpoint's folder holds, and how it is opened.

pub mod blip;
pub mod nn;

use crate::image::{PixelValues, Preprocessor, PreprocessorError};
use crate::tasks::{TaskHead, TokenizerError};
use crate::weights::WeightsError;
use blip::CaptionAsk;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::{Device, TchError};

/// The `model_type`s that this build knows.
pub const FAMILIES: [&str; 1] = ["blip"];

/// A model family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Captioning.
    Blip,
    /// Classification by a vision transformer.
    Vit,
    /// Classification by a residual network.
    ResNet,
    /// Object detection.
    Detr,
}

/// One picture of a batch and what is asked about it.
#[derive(Clone, Debug)]
pub struct Item {
    /// As the model's preprocessor gave it.
    pub pixels: PixelValues,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked about a picture; one form per task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Image-to-text.
    Caption(CaptionAsk),
}

impl Ask {
    /// Asks with the same key can share a batch.
    pub fn batch_key(&self) -> usize {
        match self {
            Self::Caption(ask) => ask.input_ids.len(),
        }
    }
}

/// What a model gave for one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Image-to-text: tokens.
    Caption(Vec<i64>),
}

/// A model on its device. Lives on the engine's thread.
pub trait Model {
    /// Answers for `items`, which have one [`Ask::batch_key`], in their order. An item that is
    /// `dropped` (by its index) may be answered with anything; a model asks as often as it can.
    fn run(&self, items: &[Item], dropped: &dyn Fn(usize) -> bool)
    -> Result<Vec<Answer>, TchError>;
}

/// Why a checkpoint's folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// `config.json` cannot be read.
    #[error("cannot read {path}: {source}; --model takes NAME=DIR, a checkpoint's folder")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `config.json` is not what it is to be.
    #[error("{path}: {why}")]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A family that this build does not know.
    #[error("{path}: model_type \"{model_type}\" is unknown; known are: {}", FAMILIES.join(", "))]
    UnknownFamily {
        /// Which file.
        path: PathBuf,
        /// As it says.
        model_type: String,
    },
    /// Preprocessing.
    #[error(transparent)]
    Preprocessor(#[from] PreprocessorError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The first pass failed.
    #[error("the warm-up pass failed: {0}")]
    WarmUp(TchError),
}

/// The half of a model that requests need; the weights are not loaded for it.
pub struct ModelFront {
    /// Parameters and results.
    pub head: Box<dyn TaskHead>,
    /// Bytes to input.
    pub preprocessor: Preprocessor,
}

/// Loads the other half; called on the thread that will own it.
pub type Loader = Box<dyn FnOnce(Device) -> Result<Loaded, ModelError> + Send>;

/// A model's half on the device.
pub struct Loaded {
    /// The model.
    pub model: Box<dyn Model>,
    /// `sha256:<digest of the weights file>`.
    pub revision: String,
}

/// Reads all of a checkpoint's folder but its weights.
pub fn open(dir: &Path) -> Result<(Arc<ModelFront>, Loader), ModelError> {
    #[derive(Deserialize)]
    struct ModelType {
        #[serde(default)]
        model_type: String,
    }
    let path = dir.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|source| ModelError::Read {
        path: path.clone(),
        source,
    })?;
    let ModelType { model_type } = parse(&text, &path)?;
    match model_type.as_str() {
        "blip" => blip::open(dir, &text, &path),
        _ => Err(ModelError::UnknownFamily { path, model_type }),
    }
}

/// A configuration's text.
fn parse<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, ModelError> {
    serde_json::from_str(text).map_err(|error| ModelError::Config {
        path: path.to_owned(),
        why: error.to_string(),
    })
}
