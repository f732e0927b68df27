//! The tasks, and the parameters that each of them takes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What to do with a picture; the names are those of Hugging Face's pipelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Write a caption of the picture.
    ImageToText,
    /// Label the picture, with scores.
    ImageClassification,
    /// Find objects, with scores and boxes.
    ObjectDetection,
}

/// The text names no task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTask;

impl Task {
    /// Every task, in the order of the schema.
    pub const ALL: [Self; 3] = [
        Self::ImageToText,
        Self::ImageClassification,
        Self::ObjectDetection,
    ];

    /// The task's name in the resource.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImageToText => "image-to-text",
            Self::ImageClassification => "image-classification",
            Self::ObjectDetection => "object-detection",
        }
    }

    /// Fields of `spec.parameters` that this task takes; each belongs to one task.
    pub const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::ImageToText => &["maxNewTokens", "numBeams", "prompt"],
            Self::ImageClassification => &["topK"],
            Self::ObjectDetection => &["scoreThresholdPermille"],
        }
    }

    /// The task that takes this field of `spec.parameters`.
    pub fn of_parameter(name: &str) -> Option<Self> {
        let takes = |task: &Self| task.parameters().contains(&name);
        Self::ALL.into_iter().find(takes)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Task {
    type Err = UnknownTask;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = |task: &Self| task.as_str() == name;
        Self::ALL.into_iter().find(named).ok_or(UnknownTask)
    }
}

impl fmt::Display for UnknownTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Task::ALL.map(Task::as_str).join(", ");
        write!(f, "not a task: use one of {names}")
    }
}

impl std::error::Error for UnknownTask {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

    use super::*;
    use crate::Parameters;
    use std::collections::BTreeSet;

    #[test]
    fn a_task_has_one_name_in_text_and_in_json() {
        for task in Task::ALL {
            assert_eq!(serde_json::to_value(task).unwrap(), task.as_str());
            assert_eq!(task.as_str().parse(), Ok(task));
        }
        assert_eq!("image-to-image".parse::<Task>(), Err(UnknownTask));
    }

    #[test]
    fn every_parameter_belongs_to_one_task() {
        let all = Parameters {
            max_new_tokens: Some(1),
            num_beams: Some(1),
            prompt: Some("a".to_owned()),
            top_k: Some(1),
            score_threshold_permille: Some(1),
        };
        let json = serde_json::to_value(all).unwrap();
        let fields: BTreeSet<&str> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let taken: Vec<&str> = Task::ALL
            .into_iter()
            .flat_map(Task::parameters)
            .copied()
            .collect();
        assert_eq!(taken.len(), fields.len());
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), fields);
        assert_eq!(Task::of_parameter("topK"), Some(Task::ImageClassification));
        assert_eq!(Task::of_parameter("top_k"), None);
    }
}
