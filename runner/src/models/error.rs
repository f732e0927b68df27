//! Why a checkpoint's folder cannot be served, and why a pass failed.

use super::{Ask, Family};
use crate::image::PreprocessorError;
use crate::tasks::TokenizerError;
use crate::weights::WeightsError;
use std::path::PathBuf;
use tch::TchError;

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
    #[error(
        "{path}: model_type \"{model_type}\" is unknown; known are: {}",
        known_families()
    )]
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
    /// A TorchScript module cannot be loaded, or does not do what its manifest says.
    #[error("{path}: {why}")]
    Module {
        /// Which file.
        path: PathBuf,
        /// What it was given and what it gave.
        why: String,
    },
    /// The first pass failed.
    #[error("the warm-up pass failed: {0}")]
    WarmUp(ModelFault),
}

fn known_families() -> String {
    Family::ALL.map(Family::model_type).join(", ")
}

/// Why a pass gave no answers.
#[derive(Debug, thiserror::Error)]
pub enum ModelFault {
    /// libtorch's word.
    #[error(transparent)]
    Torch(#[from] TchError),
    /// What the model gave is not what its task is answered with.
    #[error("{0}")]
    Answer(String),
}

impl ModelFault {
    /// An ask of another task than the model's: our own mistake, told and survived.
    pub(super) fn foreign(ask: &Ask) -> Self {
        Self::Answer(format!("the model was asked for another task: {ask:?}"))
    }
}
