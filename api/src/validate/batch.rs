//! The fields of a batch, in JSON, in a form or in a query: those of a job, where the pictures are, and where the
//! results go.

use super::error::{FieldError, excerpt, invalid};
use super::fields::{RequestParameters, within};
use super::request::{BatchSettings, JobRequest, LABEL, ValidRequest, integer, once, optional};
use fovea_crds::bounds::{
    MAX_KEY_LENGTH, MAX_LABEL_LENGTH, MAX_OUTPUT_BYTES, MAX_PARALLELISM, MAX_PATTERN_LENGTH,
    MAX_PATTERNS, MAX_PERMILLE, MAX_PRIORITY,
};
use fovea_crds::{Input, Output, OutputFormat, Parameters, Task};
use fovea_store::{BATCH_UPLOADS, ObjectKey};
use schemars::{JsonSchema, Schema};
use serde::Deserialize;

/// The pictures that were uploaded with a batch, in a folder of their own.
pub(crate) const UPLOADED_PICTURES: &str = "pictures.tar";
/// Where results go if the request does not say.
const DEFAULT_OUTPUT: &str = "batches";
const INPUTS: &str = "say where the pictures are by one of {\"prefix\": {\"prefix\": ...}}, {\"manifest\": {\"key\": ...}} and {\"archives\": {\"prefix\": ...}}";
/// The fields of a form and of a query, for messages.
const NAMES: &str = "task, model, pool, priority, reuse, callbackUrl, maxNewTokens, numBeams, prompt, topK, scoreThresholdPermille, outputPrefix, outputFormat, parallelism, maxFailedPermille";

/// A batch as JSON, whose pictures are in the bucket.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object")]
#[schemars(rename = "BatchJson", transform = optional)]
pub(crate) struct BatchRequest {
    /// The task; image-to-text by default.
    #[schemars(with = "Option<Task>")]
    task: Option<String>,
    /// A model that the pool serves; by default, the pool's default model for the task.
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH), regex(pattern = LABEL))]
    model: Option<String>,
    /// The pool, as `name` or `namespace/name`; by default, the installation's default pool.
    pool: Option<String>,
    /// Order within the namespace, higher first.
    #[schemars(with = "Option<i32>", range(min = -MAX_PRIORITY, max = MAX_PRIORITY))]
    priority: Option<i64>,
    /// Whether answers that the same pictures had before are reused; false by default.
    reuse: Option<bool>,
    /// An https URL that receives a webhook when the batch has ended.
    callback_url: Option<String>,
    /// Settings of the task; without them its defaults apply.
    #[schemars(with = "Option<Parameters>")]
    parameters: Option<RequestParameters>,
    /// Where the pictures are. Required.
    #[schemars(with = "Option<BatchInput>")]
    input: Option<BatchInput>,
    /// Where the results go.
    output: Option<BatchOutput>,
    /// Most shards that run at a time; 0 holds the batch. Unlimited by default.
    #[schemars(with = "Option<u32>", range(max = MAX_PARALLELISM))]
    parallelism: Option<i64>,
    /// Share of failed pictures, in thousandths, above which the batch ends early; 1000 by default: never.
    #[schemars(with = "Option<u32>", range(max = MAX_PERMILLE))]
    max_failed_permille: Option<i64>,
}

/// Where the pictures of a batch are, below `data/<namespace>/` in the bucket. Exactly one member.
#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "an object such as {\"prefix\": {\"prefix\": \"cats\"}}"
)]
#[schemars(transform = exactly_one)]
struct BatchInput {
    /// Every picture below a prefix.
    prefix: Option<PrefixInput>,
    /// The pictures that an object lists, in JSON Lines or CSV.
    manifest: Option<ManifestInput>,
    /// The pictures in tar archives.
    archives: Option<ArchivesInput>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "an object such as {\"prefix\": \"cats\"}"
)]
#[schemars(inline)]
struct PrefixInput {
    /// Path below `data/<namespace>/`, without the final `/`.
    #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
    prefix: String,
    /// Patterns of the names to take, relative to the prefix; all by default.
    #[serde(default)]
    #[schemars(length(max = MAX_PATTERNS), inner(length(min = 1, max = MAX_PATTERN_LENGTH)))]
    include: Vec<String>,
    /// Patterns of the names to leave out.
    #[serde(default)]
    #[schemars(length(max = MAX_PATTERNS), inner(length(min = 1, max = MAX_PATTERN_LENGTH)))]
    exclude: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "an object such as {\"key\": \"cats.jsonl\"}"
)]
#[schemars(inline)]
struct ManifestInput {
    /// Path of the manifest below `data/<namespace>/`.
    #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
    key: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "an object such as {\"prefix\": \"cats\"}"
)]
#[schemars(inline)]
struct ArchivesInput {
    /// Path of the archives below `data/<namespace>/`, without the final `/`.
    #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
    prefix: String,
}

/// Where the results of a batch go.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "an object such as {\"prefix\": \"found\", \"format\": \"csv\"}"
)]
#[schemars(inline, transform = optional)]
struct BatchOutput {
    /// Path below `data/<namespace>/`; the parts are written to `<prefix>/<uid of the job>/`. `batches` by default.
    #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
    prefix: Option<String>,
    /// Format of the parts; `jsonl` by default.
    #[schemars(with = "Option<OutputFormat>")]
    format: Option<String>,
}

/// A batch's fields in any form.
#[derive(Default)]
pub(crate) struct BatchFields {
    job: JobRequest<'static>,
    input: Option<BatchInput>,
    output_prefix: Option<String>,
    output_format: Option<String>,
    parallelism: Option<i64>,
    max_failed_permille: Option<i64>,
}

impl From<BatchRequest> for BatchFields {
    fn from(request: BatchRequest) -> Self {
        let output = request.output.unwrap_or_default();
        Self {
            job: JobRequest {
                task: request.task,
                model: request.model,
                pool: request.pool,
                priority: request.priority,
                reuse: request.reuse,
                callback_url: request.callback_url,
                parameters: request.parameters,
                ..JobRequest::default()
            },
            input: request.input,
            output_prefix: output.prefix,
            output_format: output.format,
            parallelism: request.parallelism,
            max_failed_permille: request.max_failed_permille,
        }
    }
}

impl BatchFields {
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
        Self::check(name)?;
        match name {
            "outputPrefix" => once(&mut self.output_prefix, name, value),
            "outputFormat" => once(&mut self.output_format, name, value),
            "parallelism" => once(&mut self.parallelism, name, integer("parallelism", &value)?),
            "maxFailedPermille" => {
                let value = integer("maxFailedPermille", &value)?;
                once(&mut self.max_failed_permille, name, value)
            }
            _ => self.job.set(name, value),
        }
    }

    /// Checks the fields of a batch whose pictures are in the bucket.
    pub(crate) fn validate(mut self, namespace: &str) -> Result<(ValidRequest, Input), FieldError> {
        let Some(input) = self.input.take() else {
            return invalid("input", INPUTS.to_owned());
        };
        let input = input.validate(namespace)?;
        let request = self.validate_upload(namespace)?;
        if let Some(BatchSettings { output, .. }) = &request.batch
            && let Input::Prefix { prefix, .. } | Input::Archives { prefix } = &input
            && is_inside(&output.prefix, prefix)
        {
            return invalid(
                "output",
                format!(
                    "{:?} lies inside the input's prefix, and results would become input: name another folder as output.prefix",
                    excerpt(&output.prefix)
                ),
            );
        }
        Ok((request, input))
    }

    /// Checks the fields of a batch whose pictures are uploaded with it.
    pub(crate) fn validate_upload(self, namespace: &str) -> Result<ValidRequest, FieldError> {
        let prefix = self
            .output_prefix
            .unwrap_or_else(|| DEFAULT_OUTPUT.to_owned());
        path("output.prefix", namespace, &prefix)?;
        if prefix.len() > MAX_OUTPUT_BYTES as usize {
            return invalid("output.prefix", format!("at most {MAX_OUTPUT_BYTES} bytes"));
        }
        let format = match self.output_format.as_deref() {
            None | Some("jsonl") => OutputFormat::Jsonl,
            Some("csv") => OutputFormat::Csv,
            Some("parquet") => OutputFormat::Parquet,
            Some(other) => {
                return invalid(
                    "output.format",
                    format!("{:?} is none of jsonl, csv, parquet", excerpt(other)),
                );
            }
        };
        let (most, permille) = (MAX_PARALLELISM, MAX_PERMILLE);
        let batch = BatchSettings {
            output: Output { prefix, format },
            parallelism: within("parallelism", self.parallelism, 0, most)?,
            max_failed_permille: within(
                "maxFailedPermille",
                self.max_failed_permille,
                0,
                permille,
            )?,
        };
        let mut request = self.job.validate()?;
        request.batch = Some(batch);
        Ok(request)
    }
}

impl BatchInput {
    fn validate(self, namespace: &str) -> Result<Input, FieldError> {
        let Self {
            prefix,
            manifest,
            archives,
        } = self;
        match (prefix, manifest, archives) {
            (Some(input), None, None) => {
                let PrefixInput {
                    prefix,
                    include,
                    exclude,
                } = input;
                path("input.prefix.prefix", namespace, &prefix)?;
                patterns("input.prefix.include", &include)?;
                patterns("input.prefix.exclude", &exclude)?;
                Ok(Input::Prefix {
                    prefix,
                    include,
                    exclude,
                })
            }
            (None, Some(ManifestInput { key }), None) => {
                path("input.manifest.key", namespace, &key)?;
                Ok(Input::Manifest { key })
            }
            (None, None, Some(ArchivesInput { prefix })) => {
                path("input.archives.prefix", namespace, &prefix)?;
                Ok(Input::Archives { prefix })
            }
            _ => invalid("input", INPUTS.to_owned()),
        }
    }
}

fn exactly_one(schema: &mut Schema) {
    optional(schema);
    schema.insert("minProperties".to_owned(), 1.into());
    schema.insert("maxProperties".to_owned(), 1.into());
}

/// Checks a path below `data/<namespace>/`.
fn path(name: &'static str, namespace: &str, path: &str) -> Result<(), FieldError> {
    if is_inside(path, BATCH_UPLOADS) {
        return invalid(
            name,
            format!(
                "{BATCH_UPLOADS}/ holds what is uploaded with batches, and is deleted with them: name another folder"
            ),
        );
    }
    match super::object_key(namespace, path) {
        Err(FieldError::Invalid { why, .. }) => invalid(name, why),
        checked => checked,
    }
}

fn patterns(name: &'static str, patterns: &[String]) -> Result<(), FieldError> {
    let fits =
        |pattern: &String| (1..=MAX_PATTERN_LENGTH as usize).contains(&pattern.chars().count());
    if patterns.len() <= MAX_PATTERNS as usize && patterns.iter().all(fits) {
        return Ok(());
    }
    invalid(
        name,
        format!("at most {MAX_PATTERNS} patterns of 1 to {MAX_PATTERN_LENGTH} characters"),
    )
}

/// Whether `path` is the folder `outer` or lies inside it.
fn is_inside(path: &str, outer: &str) -> bool {
    let rest = path.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The object that was uploaded with a batch of the API's; `None` if its pictures were in the bucket before.
pub(crate) fn uploaded(namespace: &str, input: &Input) -> Option<ObjectKey> {
    let path = match input {
        Input::Manifest { key } => key.clone(),
        Input::Archives { prefix } => format!("{prefix}/{UPLOADED_PICTURES}"),
        _ => return None,
    };
    is_inside(&path, BATCH_UPLOADS).then(|| ObjectKey::data(namespace, &path).ok())?
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
