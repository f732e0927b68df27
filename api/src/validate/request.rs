//! A submission's fields, in any of the three forms of a request.

use super::callback::callback_url;
use super::error::{FieldError, excerpt, invalid};
use super::fields::{RequestParameters, model, parameters, pool, task, within};
use fovea_crds::bounds::{MAX_KEY_LENGTH, MAX_LABEL_LENGTH, MAX_PRIORITY};
use fovea_crds::{Output, Parameters, PoolRef, Task};
use schemars::{JsonSchema, Schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The fields of a form and of a query, for messages.
const NAMES: &str = "task, model, pool, priority, reuse, callbackUrl, maxNewTokens, numBeams, prompt, topK, scoreThresholdPermille";
pub(super) const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A job as JSON. The picture is given as exactly one of `data` and `key`.
// The one type of a request: JSON is deserialized into it, forms and queries are read by `set`, and
// all three are described by its schema. Members have their JSON types only, so that a value that is
// not allowed is answered in the same words in every form.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object")]
#[schemars(rename = "JobJson", transform = optional)]
pub(crate) struct JobRequest<'a> {
    /// The task; image-to-text by default.
    #[schemars(with = "Option<Task>")]
    pub(super) task: Option<String>,
    /// A model that the pool serves; by default, the pool's default model for the task.
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH), regex(pattern = LABEL))]
    pub(super) model: Option<String>,
    /// The pool, as `name` or `namespace/name`; by default, the installation's default pool.
    pub(super) pool: Option<String>,
    /// Order within the namespace, higher first.
    #[schemars(with = "Option<i32>", range(min = -MAX_PRIORITY, max = MAX_PRIORITY))]
    pub(super) priority: Option<i64>,
    /// Whether the answer that the same picture had before is reused; false by default.
    pub(super) reuse: Option<bool>,
    /// An https URL that receives a webhook when the job has ended.
    pub(super) callback_url: Option<String>,
    /// Settings of the task; without them its defaults apply.
    #[schemars(with = "Option<Parameters>")]
    pub(super) parameters: Option<RequestParameters>,
    /// The picture as base64 on one line, or as a data URI with base64.
    #[serde(borrow)]
    #[schemars(with = "Option<String>")]
    pub(crate) data: Option<Text<'a>>,
    /// The picture's path below `data/<namespace>/` in the bucket.
    #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
    pub(crate) key: Option<String>,
    /// Never allowed; read so that the error can say why.
    #[schemars(skip)]
    pub(crate) url: Option<IgnoredAny>,
}

/// A string that is copied only if it has escapes; serde borrows a `Cow` only if it is not directly
/// inside an `Option`.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// What a batch has beside the fields of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BatchSettings {
    pub(crate) output: Output,
    pub(crate) parallelism: Option<u32>,
    pub(crate) max_failed_permille: Option<u32>,
}

/// A request whose every field is valid, without its picture. Its JSON is part of the request's
/// fingerprint and must not change between releases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ValidRequest {
    pub(crate) task: Task,
    pub(crate) model: Option<String>,
    pub(crate) pool: Option<PoolRef>,
    pub(crate) priority: i32,
    /// Omitted from the JSON if absent: requests from before this field keep their fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) callback_url: Option<String>,
    pub(crate) parameters: Parameters,
    /// Omitted from the JSON if false, for the same reason.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) reuse: bool,
    /// Omitted from the JSON of a single picture's request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<BatchSettings>,
}

impl JobRequest<'_> {
    /// Checks that a form or a query has a field of this name, before its value is read.
    pub(crate) fn check(name: &str) -> Result<(), FieldError> {
        if NAMES.split(", ").any(|known| known == name) {
            Ok(())
        } else {
            Err(FieldError::Unknown(excerpt(name), NAMES))
        }
    }

    /// Sets one field of a form or a query.
    pub(crate) fn set(&mut self, name: &str, value: String) -> Result<(), FieldError> {
        let settings = self.parameters.get_or_insert_default();
        match name {
            "task" => once(&mut self.task, name, value),
            "model" => once(&mut self.model, name, value),
            "pool" => once(&mut self.pool, name, value),
            "callbackUrl" => once(&mut self.callback_url, name, value),
            "prompt" => once(&mut settings.prompt, name, value),
            "reuse" => once(&mut self.reuse, name, boolean("reuse", &value)?),
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

    /// Checks every field but the picture.
    pub(crate) fn validate(self) -> Result<ValidRequest, FieldError> {
        let task = self.task.as_deref().map_or(Ok(Task::ImageToText), task)?;
        Ok(ValidRequest {
            task,
            model: self.model.map(model).transpose()?,
            pool: self.pool.as_deref().map(pool).transpose()?,
            priority: within("priority", self.priority, -MAX_PRIORITY, MAX_PRIORITY)?.unwrap_or(0),
            callback_url: self.callback_url.map(callback_url).transpose()?,
            parameters: parameters(task, self.parameters.unwrap_or_default())?,
            reuse: self.reuse.unwrap_or(false),
            batch: None,
        })
    }
}

pub(super) fn integer(name: &'static str, text: &str) -> Result<i64, FieldError> {
    text.parse()
        .or_else(|_| invalid(name, format!("{:?} is not a whole number", excerpt(text))))
}

fn boolean(name: &'static str, text: &str) -> Result<bool, FieldError> {
    text.parse().or_else(|_| {
        invalid(
            name,
            format!("{:?} is neither true nor false", excerpt(text)),
        )
    })
}

pub(super) fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), FieldError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(FieldError::Duplicate(name.to_owned())),
    }
}

pub(super) fn optional(schema: &mut Schema) {
    schema.remove("required");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validated(fields: &[(&str, &str)]) -> Result<ValidRequest, FieldError> {
        let mut request = JobRequest::default();
        for (name, value) in fields {
            request.set(name, (*value).to_owned())?;
        }
        request.validate()
    }

    #[test]
    fn nothing_said_means_a_caption_with_the_defaults() {
        let job = validated(&[]).unwrap();
        assert_eq!(job.task, Task::ImageToText);
        assert_eq!((job.model, job.pool, job.priority), (None, None, 0));
        assert!(job.parameters.is_empty());
    }

    #[test]
    fn every_field_that_messages_name_can_be_set_and_no_other() {
        for name in NAMES.split(", ") {
            let value = if name == "reuse" { "true" } else { "1" };
            assert_eq!(JobRequest::check(name), Ok(()));
            assert_eq!(
                JobRequest::default().set(name, value.into()),
                Ok(()),
                "{name}"
            );
        }
        assert!(JobRequest::check("file").is_err() && JobRequest::check("").is_err());
    }

    #[test]
    fn everything_said_is_taken_over() {
        let job = validated(&[
            ("task", "object-detection"),
            ("model", "detr"),
            ("pool", "gpu/big"),
            ("priority", "-5"),
            ("reuse", "true"),
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
        assert!(job.reuse && !validated(&[]).unwrap().reuse);
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
            (vec![("reuse", "yes")], "reuse"),
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
            match validated(&fields) {
                Err(FieldError::Invalid { name, .. }) => assert_eq!(name, named, "{fields:?}"),
                other => panic!("{fields:?}: {other:?}"),
            }
        }
        assert!(
            matches!(validated(&[("colour", "red")]), Err(FieldError::Unknown(name, _)) if name == "colour")
        );
        assert!(matches!(
            validated(&[("task", "a"), ("task", "a")]),
            Err(FieldError::Duplicate(_))
        ));
    }
}
