//! The request side of each task: turns a request's parameters into a query for the model, and the
//! model's answer into the result on the wire.

mod image_classification;
mod labels;
mod object_detection;

pub use image_classification::{Activation, ImageClassification};
pub use labels::{LabelConfig, ProblemType};
pub use object_detection::ObjectDetection;

use fovea_protocol::{Parameters, Problem, Reason, Task};

/// Rejects the first parameter that belongs to another task, instead of ignoring it.
pub(crate) fn only_for(task: Task, parameters: &Parameters) -> Result<(), Problem> {
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
            format!("{name} is not a parameter of {task}; remove it"),
        )),
        None => Ok(()),
    }
}

/// The problem when a model answers for another task than its head's: a bug in the runner, which
/// must not end it.
pub(crate) fn foreign_answer() -> Problem {
    Problem::new(
        Reason::InferenceFailed,
        "the model answered for another task; this is a bug in the runner",
    )
}
