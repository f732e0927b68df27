//! Task, model and settings: from what a client wrote, in any of the three forms, to what a job
//! may say.

use super::callback::callback_url;
use super::{is_label, is_subdomain};
use crate::error::{Problem, ProblemType};
use fovea_crds::bounds::{
    MAX_BEAMS, MAX_KEY_BYTES, MAX_KEY_LENGTH, MAX_NEW_TOKENS, MAX_PERMILLE, MAX_PRIORITY,
    MAX_PROMPT_LENGTH, MAX_TOP_K,
};
use fovea_crds::{Parameters, PoolRef, Task};
use fovea_store::ObjectKey;
use serde::{Deserialize, Serialize};

/// The fields of a form and of a query, for messages.
const NAMES: &str = "task, model, pool, priority, callbackUrl, maxNewTokens, numBeams, prompt, topK, scoreThresholdPermille";

/// A field that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("{0:?} is not a field of this request: it knows {1}")]
    Unknown(String, &'static str),
    #[error("{0:?} is given more than once: send it once")]
    Duplicate(String),
    #[error("{name}: {why}")]
    Invalid { name: &'static str, why: String },
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        let kind = match error {
            FieldError::Unknown(..) => ProblemType::UnknownField,
            FieldError::Duplicate(_) => ProblemType::DuplicateField,
            FieldError::Invalid { .. } => ProblemType::InvalidField,
        };
        Self::new(kind, error.to_string())
    }
}

/// What a client wrote, typed but not judged.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) task: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) pool: Option<String>,
    pub(crate) priority: Option<i64>,
    pub(crate) callback_url: Option<String>,
    pub(crate) parameters: ParametersDraft,
}

/// The settings among it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ParametersDraft {
    max_new_tokens: Option<i64>,
    num_beams: Option<i64>,
    prompt: Option<String>,
    top_k: Option<i64>,
    score_threshold_permille: Option<i64>,
}

/// What a job will say, but for its picture. Its JSON is part of a request's fingerprint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct JobRequest {
    pub(crate) task: Task,
    pub(crate) model: Option<String>,
    pub(crate) pool: Option<PoolRef>,
    pub(crate) priority: i32,
    /// Left out of the JSON where there is none, as it was before there was this field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) callback_url: Option<String>,
    pub(crate) parameters: Parameters,
}

impl Draft {
    /// Whether there is such a field, asked before its value is read.
    pub(crate) fn check(name: &str) -> Result<(), FieldError> {
        if NAMES.split(", ").any(|known| known == name) {
            Ok(())
        } else {
            Err(FieldError::Unknown(excerpt(name), NAMES))
        }
    }

    /// Takes one field of a form or a query.
    pub(crate) fn set(&mut self, name: &str, value: String) -> Result<(), FieldError> {
        let settings = &mut self.parameters;
        match name {
            "task" => once(&mut self.task, name, value),
            "model" => once(&mut self.model, name, value),
            "pool" => once(&mut self.pool, name, value),
            "callbackUrl" => once(&mut self.callback_url, name, value),
            "prompt" => once(&mut settings.prompt, name, value),
            "priority" => once(&mut self.priority, name, integer("priority", &value)?),
            "maxNewTokens" => once(
                &mut settings.max_new_tokens,
                name,
                integer("maxNewTokens", &value)?,
            ),
            "numBeams" => once(&mut settings.num_beams, name, integer("numBeams", &value)?),
            "topK" => once(&mut settings.top_k, name, integer("topK", &value)?),
            "scoreThresholdPermille" => once(
                &mut settings.score_threshold_permille,
                name,
                integer("scoreThresholdPermille", &value)?,
            ),
            _ => Err(FieldError::Unknown(excerpt(name), NAMES)),
        }
    }

    /// Judges the whole.
    pub(crate) fn finish(self) -> Result<JobRequest, FieldError> {
        let task = self.task.as_deref().map_or(Ok(Task::ImageToText), task)?;
        if let Some(model) = self.model.as_deref().filter(|model| !is_label(model)) {
            return invalid(
                "model",
                format!(
                    "{:?} is not the name of a model: at most 63 of a-z, 0-9 and -, as the pool names it",
                    excerpt(model)
                ),
            );
        }
        Ok(JobRequest {
            task,
            model: self.model,
            pool: self.pool.as_deref().map(pool).transpose()?,
            priority: within("priority", self.priority, -MAX_PRIORITY, MAX_PRIORITY)?.unwrap_or(0),
            callback_url: self.callback_url.map(callback_url).transpose()?,
            parameters: parameters(task, self.parameters)?,
        })
    }
}

/// Checks the path of a user's own object in the bucket.
pub(crate) fn object_key(namespace: &str, key: &str) -> Result<(), FieldError> {
    if key.chars().count() > MAX_KEY_LENGTH as usize || key.len() > MAX_KEY_BYTES as usize {
        return invalid(
            "key",
            format!("at most {MAX_KEY_LENGTH} characters and {MAX_KEY_BYTES} bytes"),
        );
    }
    ObjectKey::data(namespace, key)
        .map(|_| ())
        .or_else(|error| invalid("key", error.to_string()))
}

/// Reads a task's name.
pub(crate) fn task(name: &str) -> Result<Task, FieldError> {
    Ok(match name {
        "image-to-text" => Task::ImageToText,
        "image-classification" => Task::ImageClassification,
        "object-detection" => Task::ObjectDetection,
        _ => {
            return invalid(
                "task",
                format!(
                    "{:?} is unknown: it is one of image-to-text, image-classification, object-detection",
                    excerpt(name)
                ),
            );
        }
    })
}

fn pool(text: &str) -> Result<PoolRef, FieldError> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    if !is_subdomain(name) || namespace.is_some_and(|namespace| !is_label(namespace)) {
        return invalid(
            "pool",
            format!(
                "{:?} is neither the name of a RunnerPool nor <namespace>/<name>",
                excerpt(text)
            ),
        );
    }
    Ok(PoolRef {
        name: name.to_owned(),
        namespace: namespace.map(str::to_owned),
    })
}

fn parameters(task: Task, draft: ParametersDraft) -> Result<Parameters, FieldError> {
    let ParametersDraft {
        max_new_tokens,
        num_beams,
        prompt,
        top_k,
        score_threshold_permille,
    } = draft;
    for (name, given, wanted, of) in [
        (
            "maxNewTokens",
            max_new_tokens.is_some(),
            Task::ImageToText,
            "image-to-text",
        ),
        (
            "numBeams",
            num_beams.is_some(),
            Task::ImageToText,
            "image-to-text",
        ),
        (
            "prompt",
            prompt.is_some(),
            Task::ImageToText,
            "image-to-text",
        ),
        (
            "topK",
            top_k.is_some(),
            Task::ImageClassification,
            "image-classification",
        ),
        (
            "scoreThresholdPermille",
            score_threshold_permille.is_some(),
            Task::ObjectDetection,
            "object-detection",
        ),
    ] {
        if given && task != wanted {
            return invalid(name, format!("only for the task {of}: leave it out"));
        }
    }
    if let Some(prompt) = &prompt {
        let length = prompt.chars().count();
        if length == 0 || length > MAX_PROMPT_LENGTH as usize {
            return invalid(
                "prompt",
                format!("1 to {MAX_PROMPT_LENGTH} characters, not {length}"),
            );
        }
    }
    Ok(Parameters {
        max_new_tokens: within("maxNewTokens", max_new_tokens, 1, MAX_NEW_TOKENS)?,
        num_beams: within("numBeams", num_beams, 1, MAX_BEAMS)?,
        prompt,
        top_k: within("topK", top_k, 1, MAX_TOP_K)?,
        score_threshold_permille: within(
            "scoreThresholdPermille",
            score_threshold_permille,
            0,
            MAX_PERMILLE,
        )?,
    })
}

fn within<N>(
    name: &'static str,
    value: Option<i64>,
    least: N,
    most: N,
) -> Result<Option<N>, FieldError>
where
    N: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
{
    let Some(value) = value else { return Ok(None) };
    match N::try_from(value) {
        Ok(number) if number >= least && number <= most => Ok(Some(number)),
        _ => invalid(name, format!("{least} to {most}, not {value}")),
    }
}

fn integer(name: &'static str, text: &str) -> Result<i64, FieldError> {
    text.parse()
        .or_else(|_| invalid(name, format!("{:?} is not a whole number", excerpt(text))))
}

fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), FieldError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(FieldError::Duplicate(name.to_owned())),
    }
}

pub(super) fn invalid<T>(name: &'static str, why: String) -> Result<T, FieldError> {
    Err(FieldError::Invalid { name, why })
}

/// A client's text, short enough to be repeated to it.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(fields: &[(&str, &str)]) -> Result<JobRequest, FieldError> {
        let mut draft = Draft::default();
        for (name, value) in fields {
            draft.set(name, (*value).to_owned())?;
        }
        draft.finish()
    }

    #[test]
    fn nothing_said_means_a_caption_with_the_defaults() {
        let job = draft(&[]).unwrap();
        assert_eq!(job.task, Task::ImageToText);
        assert_eq!((job.model, job.pool, job.priority), (None, None, 0));
        assert!(job.parameters.is_empty());
    }

    #[test]
    fn every_field_that_messages_name_can_be_set_and_no_other() {
        for name in NAMES.split(", ") {
            assert_eq!(Draft::check(name), Ok(()));
            assert_eq!(Draft::default().set(name, "1".into()), Ok(()), "{name}");
        }
        assert!(Draft::check("file").is_err() && Draft::check("").is_err());
    }

    #[test]
    fn everything_said_is_taken_over() {
        let job = draft(&[
            ("task", "object-detection"),
            ("model", "detr"),
            ("pool", "gpu/big"),
            ("priority", "-5"),
            ("scoreThresholdPermille", "900"),
        ])
        .unwrap();
        assert_eq!(job.parameters.score_threshold_permille, Some(900));
        assert_eq!(
            job.pool,
            Some(PoolRef {
                name: "big".into(),
                namespace: Some("gpu".into())
            })
        );
        assert_eq!((job.priority, job.model.as_deref()), (-5, Some("detr")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (fields, named) in [
            (vec![("task", "image_to_text")], "task"),
            (vec![("task", "")], "task"),
            (vec![("model", "Blip")], "model"),
            (vec![("model", "")], "model"),
            (vec![("pool", "a/b/c")], "pool"),
            (vec![("priority", "1001")], "priority"),
            (vec![("priority", "1.5")], "priority"),
            (vec![("maxNewTokens", "0")], "maxNewTokens"),
            (vec![("maxNewTokens", "513")], "maxNewTokens"),
            (vec![("maxNewTokens", "-1")], "maxNewTokens"),
            (vec![("numBeams", "11")], "numBeams"),
            (
                vec![("maxNewTokens", "99999999999999999999")],
                "maxNewTokens",
            ),
            (vec![("topK", "5")], "topK"),
            (
                vec![("scoreThresholdPermille", "5")],
                "scoreThresholdPermille",
            ),
            (
                vec![("task", "image-classification"), ("prompt", "a")],
                "prompt",
            ),
            (vec![("prompt", "")], "prompt"),
            (vec![("prompt", &"x".repeat(513))], "prompt"),
        ] {
            match draft(&fields) {
                Err(FieldError::Invalid { name, .. }) => assert_eq!(name, named, "{fields:?}"),
                other => panic!("{fields:?}: {other:?}"),
            }
        }
        assert!(
            matches!(draft(&[("colour", "red")]), Err(FieldError::Unknown(name, _)) if name == "colour")
        );
        assert!(matches!(
            draft(&[("task", "a"), ("task", "a")]),
            Err(FieldError::Duplicate(_))
        ));
    }

    #[test]
    fn an_object_key_stays_below_its_namespace() {
        assert_eq!(object_key("ns", "cats/1.jpg"), Ok(()));
        for wrong in [
            "",
            "../other/1.jpg",
            "/a",
            "a//b",
            "a%2e",
            &"é".repeat(512),
            &"a".repeat(513),
        ] {
            assert!(object_key("ns", wrong).is_err(), "{wrong}");
        }
    }
}
