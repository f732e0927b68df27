//! Formats of results that a query asks for.

use crate::batch::Format;
use crate::validate::{FieldError, excerpt};
use fovea_crds::Task;

/// A format by its name.
pub(crate) fn format(name: &str) -> Result<Format, FieldError> {
    match name {
        "jsonl" => Ok(Format::Jsonl),
        "csv" => Ok(Format::Csv),
        "coco" => Ok(Format::Coco),
        _ => Err(FieldError::Invalid {
            name: "format",
            why: format!("{:?} is none of jsonl, csv, coco", excerpt(name)),
        }),
    }
}

/// Checks that a task's results have this format.
pub(crate) fn check(format: Format, task: Task) -> Result<(), FieldError> {
    if format != Format::Coco || task == Task::ObjectDetection {
        return Ok(());
    }
    let why = format!(
        "coco is only for the task {}: this one is {task}",
        Task::ObjectDetection
    );
    Err(FieldError::Invalid {
        name: "format",
        why,
    })
}
