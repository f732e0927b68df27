//! Why a checkpoint's folder cannot be served.

use super::Family;
use super::blip::TokenizerError;
use crate::image::PreprocessorError;
use crate::inference::ModelFault;
use crate::weights::WeightsError;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("cannot read {path}: {source}; --model takes NAME=DIR, a checkpoint's folder")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// `config.json` or `fovea.json` is invalid.
    #[error("{path}: {why}")]
    Config { path: PathBuf, why: String },
    /// `model_type` is not one of the supported families.
    #[error(
        "{path}: model_type \"{model_type}\" is unknown; known are: {}",
        known_families()
    )]
    UnknownFamily { path: PathBuf, model_type: String },
    #[error(transparent)]
    Preprocessor(#[from] PreprocessorError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A TorchScript module cannot be loaded, or does not do what its manifest says.
    #[error("{path}: {why}")]
    Module {
        path: PathBuf,
        /// The module's input and output, or the cause.
        why: String,
    },
    #[error("the warm-up pass failed: {0}")]
    WarmUp(ModelFault),
}

fn known_families() -> String {
    Family::ALL.map(Family::model_type).join(", ")
}
