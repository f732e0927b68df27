//! A task's half on the request's side: parameters to what a model is asked, its answer to the
//! result on the wire.

mod image_classification;
mod image_to_text;
mod labels;
mod object_detection;
mod tokenizer;

pub use image_classification::{Activation, ImageClassification};
pub use image_to_text::ImageToText;
pub use labels::{LabelConfig, ProblemType};
pub use object_detection::ObjectDetection;
pub use tokenizer::{CaptionTokenizer, TokenizerError};

use crate::models::{Answer, Ask};
use fovea_protocol::{InferResult, Parameters, Problem, Reason, Task};

/// Runs on request threads; holds no tensor.
pub trait TaskHead: Send + Sync {
    /// Which task.
    fn task(&self) -> Task;

    /// What the model is asked, or why these parameters do not fit it.
    fn ask(&self, parameters: &Parameters) -> Result<Ask, Problem>;

    /// The result in the answer to `ask`; `picture`: width and height of the upright picture, in
    /// pixels.
    fn result(
        &self,
        ask: &Ask,
        answer: Answer,
        picture: (u32, u32),
    ) -> Result<InferResult, Problem>;
}

/// Refuses, by name, the first of a request's parameters that is another task's: it would have
/// to be ignored.
fn only_for(task: Task, parameters: &Parameters) -> Result<(), Problem> {
    let Parameters {
        max_new_tokens,
        num_beams,
        prompt,
        top_k,
        score_threshold_permille,
    } = parameters;
    let given = [
        ("maxNewTokens", max_new_tokens.is_some(), Task::ImageToText),
        ("numBeams", num_beams.is_some(), Task::ImageToText),
        ("prompt", prompt.is_some(), Task::ImageToText),
        ("topK", top_k.is_some(), Task::ImageClassification),
        (
            "scoreThresholdPermille",
            score_threshold_permille.is_some(),
            Task::ObjectDetection,
        ),
    ];
    let foreign = (given.iter()).find(|(_, given, of)| *given && *of != task);
    let task = match task {
        Task::ImageToText => "image-to-text",
        Task::ImageClassification => "image-classification",
        Task::ObjectDetection => "object-detection",
    };
    match foreign {
        Some((name, ..)) => Err(Problem::new(
            Reason::InvalidParameters,
            format!("{name} is no parameter of {task}; leave it out"),
        )),
        None => Ok(()),
    }
}

/// A model that answers for another task than its head's: our own mistake, told and survived.
fn foreign_answer() -> Problem {
    Problem::new(
        Reason::InferenceFailed,
        "the model answered for another task; this is a bug in the runner",
    )
}
