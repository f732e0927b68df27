//! The types that tasks, engine and models share: one picture with its query, the model's answer,
//! and the traits that produce them.

mod front;

pub use front::{ModelFront, TaskHead};

use crate::image::PixelValues;
use serde::Serialize;
use tch::TchError;

/// One picture of a batch and its query.
#[derive(Clone, Debug)]
pub struct Item {
    /// The output of the model's preprocessor.
    pub pixels: PixelValues,
    /// Must be of the model's task.
    pub query: Query,
}

/// A request's parameters, checked and completed for one model; one variant per task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Query {
    Caption(CaptionQuery),
    /// Image-classification: the `top_k` best labels, or all labels if the model has fewer.
    Classify {
        /// Number of labels, at least 1.
        top_k: usize,
    },
    /// Object-detection: every object with a score above `threshold`.
    Detect {
        /// Lowest score of a result, from 0 to 1.
        threshold: f32,
    },
}

impl Query {
    /// An upper bound on the sequential model steps, counted once per beam.
    fn steps(&self) -> usize {
        match self {
            Self::Caption(query) => query.max_length * query.num_beams,
            Self::Classify { .. } | Self::Detect { .. } => 1,
        }
    }
}

/// The generation settings of one caption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaptionQuery {
    /// BOS, then the prompt's tokens.
    pub input_ids: Vec<i64>,
    /// Upper bound on the tokens of the whole sequence, `input_ids` included.
    pub max_length: usize,
    /// Sequences followed at once; 1 decodes greedily.
    pub num_beams: usize,
}

/// Items with equal keys can share a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BatchKey {
    /// Length of a caption's `input_ids`; 0 for other tasks.
    pub tokens: usize,
    /// A caption's `num_beams`; 0 for other tasks.
    pub beams: usize,
    /// Shape of the input; `None` if the model accepts mixed sizes in one batch.
    pub shape: Option<[i64; 3]>,
}

/// A model's output for one picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Image-to-text: the token ids of the caption.
    Caption(Vec<i64>),
    /// Image-classification: one logit per label.
    Logits(Vec<f32>),
    /// Object-detection: every candidate, whatever its score, in the model's order.
    Objects(Vec<Object>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Index into the model's labels.
    pub label: usize,
    /// Confidence, from 0 to 1.
    pub score: f32,
    /// `[xmin, ymin, xmax, ymax]` as fractions of the upright picture's width and height.
    pub corners: [f32; 4],
}

/// A model on its device. It lives on the engine's thread.
pub trait Model {
    /// Answers `items`, which share one [`BatchKey`], in their order. `dropped(index)` is true once
    /// the item's request is cancelled: its answer may then be anything. A model polls it as often
    /// as it can.
    fn run(
        &self,
        items: &[Item],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Answer>, ModelFault>;
}

#[derive(Debug, thiserror::Error)]
pub enum ModelFault {
    #[error(transparent)]
    Torch(#[from] TchError),
    /// The model's output does not fit its task.
    #[error("{0}")]
    Answer(String),
}

impl ModelFault {
    /// A query of another task than the model's: a bug in the runner, which must not end it.
    pub(crate) fn foreign(query: &Query) -> Self {
        Self::Answer(format!(
            "the model received a query of another task: {query:?}"
        ))
    }
}
