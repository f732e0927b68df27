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
    match parameters.foreign_to(task) {
        Some(name) => Err(Problem::new(
            Reason::InvalidParameters,
            format!("{name} is not a parameter of {}; remove it", task.as_str()),
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
