//! The OpenAPI descriptions of requests to `/v1/batches`.

use crate::openapi::{binary, problem_set};
use crate::routes::jobs::description::{form, parameters_of, properties};
use crate::validate::BatchRequest;
use fovea_crds::{OutputFormat, Parameters};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

/// A manifest (JSON Lines or CSV) or an archive of pictures (ZIP or tar).
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
pub(crate) struct UploadBody(#[schemars(schema_with = "binary")] String);

/// A batch as a multipart form: the manifest or the archive in `file`, the rest in text fields.
pub(crate) struct BatchForm;

impl JsonSchema for BatchForm {
    fn schema_name() -> Cow<'static, str> {
        "BatchForm".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let file = "A manifest (JSON Lines or CSV) or an archive of pictures (ZIP or tar).";
        form("A batch as a form.", text_fields(generator), file)
    }
}

/// The text fields as query parameters, beside an upload that is the whole body.
pub(crate) struct BatchQuery;

impl IntoParams for BatchQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        parameters_of(text_fields)
    }
}

fn text_fields(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut fields = properties::<BatchRequest>(generator);
    for nested in ["input", "output", "parameters"] {
        fields.remove(nested);
    }
    fields.extend(properties::<Parameters>(generator));
    let prefix = json!({
        "description": "Path of the results below `data/<namespace>/`; `batches` by default.",
        "type": "string",
    });
    let format = json!({"description": "Format of the results; `jsonl` by default.", "type": "string", "enum": names()});
    fields.insert("outputPrefix".to_owned(), prefix);
    fields.insert("outputFormat".to_owned(), format);
    fields
}

fn names() -> [&'static str; 3] {
    [
        OutputFormat::Jsonl,
        OutputFormat::Csv,
        OutputFormat::Parquet,
    ]
    .map(OutputFormat::as_str)
}

problem_set!(
    BatchProblems: MalformedRequest,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    RefusedByCluster,
    ForeignFolder,
    BodyTimeout,
    TooLarge,
    UnsupportedMediaType,
    NotABatch,
    MissingPicture,
    UnknownField,
    DuplicateField,
    InvalidField,
    InvalidArchive,
    RejectedByCluster,
    IdempotencyKeyReused,
    QuotaExceeded,
    TooManyFinishedJobs,
    TooManyUnfinishedJobs,
    Internal,
    Overloaded,
    StoreUnavailable,
    ClusterUnavailable,
    OutcomeUnknown,
);

problem_set!(
    RetryProblems: NoSuchJob,
    NotFinished,
    CannotRetry,
    ForeignFolder,
    MalformedRequest,
    UnknownField,
    RefusedByCluster,
    RejectedByCluster,
    IdempotencyKeyReused,
    QuotaExceeded,
    TooManyFinishedJobs,
    TooManyUnfinishedJobs,
    Overloaded,
    StoreUnavailable,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    Internal,
    ClusterUnavailable,
    OutcomeUnknown,
);

problem_set!(
    RowsProblems: NoSuchJob,
    NoResult,
    MalformedRequest,
    UnknownField,
    DuplicateField,
    InvalidField,
    TooManyDownloads,
    StoreUnavailable,
    Overloaded,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    Internal,
    ClusterUnavailable,
);
