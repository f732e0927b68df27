//! The OpenAPI descriptions of requests to `/v1/jobs`. All forms of a submission are described by the
//! schema of [`JobRequest`], which also parses them.

use crate::openapi::{self, binary, problem_set};
use crate::validate::JobRequest;
use fovea_crds::Parameters;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Schema as Inline;
use utoipa::openapi::{RefOr, Required};

/// Bytes of the picture.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
pub(crate) struct PictureBody(#[schemars(schema_with = "binary")] String);

/// A request as a multipart form: the picture in `file`, the rest in text fields.
pub(crate) struct JobForm;

impl JsonSchema for JobForm {
    fn schema_name() -> Cow<'static, str> {
        "JobForm".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let file = "The picture: JPEG, PNG, GIF, BMP, TIFF, ICO or WebP.";
        form("A job as a form.", text_fields(generator), file)
    }
}

/// The schema of a form with these fields and a file.
pub(crate) fn form(description: &str, mut fields: Map<String, Value>, file: &str) -> Schema {
    let file = json!({"description": file, "type": "string", "format": "binary"});
    fields.insert("file".to_owned(), file);
    json_schema!({
        "description": description,
        "type": "object",
        "properties": fields,
        "required": ["file"],
    })
}

/// The text fields as query parameters, beside a picture that is the whole body.
pub(crate) struct JobQuery;

impl IntoParams for JobQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        parameters_of(text_fields)
    }
}

/// Text fields as query parameters.
pub(crate) fn parameters_of(
    fields: impl FnOnce(&mut SchemaGenerator) -> Map<String, Value>,
) -> Vec<Parameter> {
    let parameter = |(name, schema): (String, Value)| {
        let description = schema["description"].as_str().map(str::to_owned);
        let schema: Option<RefOr<Inline>> = serde_json::from_value(not_null(schema)).ok();
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(description)
            .schema(schema)
            .build()
    };
    let fields = fields(&mut openapi::generator());
    fields.into_iter().map(parameter).collect()
}

/// The schemas of a request's fields without the picture, with the settings on the same level, as
/// forms and queries have them.
fn text_fields(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut fields = properties::<JobRequest<'_>>(generator);
    for nested in ["data", "key", "parameters"] {
        fields.remove(nested);
    }
    fields.extend(properties::<Parameters>(generator));
    fields
}

/// The schemas of a struct's fields.
pub(crate) fn properties<T: JsonSchema>(generator: &mut SchemaGenerator) -> Map<String, Value> {
    match T::json_schema(generator).remove("properties") {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    }
}

/// A schema without `null`, which a query cannot express, and without its description, which the
/// parameter has.
fn not_null(mut schema: Value) -> Value {
    if let Some(one) = schema["anyOf"].get(0) {
        return one.clone();
    }
    if let Some(one) = schema["type"].get(0) {
        schema["type"] = one.clone();
    }
    if let Value::Object(members) = &mut schema {
        members.retain(|name, _| name != "description" && !name.starts_with("x-kubernetes"));
    }
    schema
}

problem_set!(
    SubmitProblems: MalformedRequest,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    RefusedByCluster,
    BodyTimeout,
    TooLarge,
    TooManyPixels,
    UnsupportedMediaType,
    NotAPicture,
    MissingPicture,
    UnknownField,
    DuplicateField,
    InvalidField,
    RemoteUrl,
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
    ReadProblems: NoSuchJob,
    MalformedRequest,
    UnknownField,
    Overloaded,
    StoreUnavailable,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    Internal,
    ClusterUnavailable,
);

problem_set!(
    ListProblems: MalformedRequest,
    UnknownField,
    DuplicateField,
    InvalidField,
    InvalidContinue,
    ContinueExpired,
    Overloaded,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    Internal,
    ClusterUnavailable,
);

problem_set!(
    FollowProblems: NoSuchJob,
    MalformedRequest,
    UnknownField,
    TooManyWaiters,
    Overloaded,
    StoreUnavailable,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    Internal,
    ClusterUnavailable,
);

problem_set!(
    CancelProblems: NoSuchJob,
    MalformedRequest,
    UnknownField,
    AlreadyFinished,
    Overloaded,
    StoreUnavailable,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    Internal,
    ClusterUnavailable,
);

problem_set!(
    DeleteProblems: NoSuchJob,
    MalformedRequest,
    UnknownField,
    Overloaded,
    StoreUnavailable,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    Internal,
    ClusterUnavailable,
);

problem_set!(
    InputProblems: NoSuchJob,
    NoSuchPicture,
    MalformedRequest,
    UnknownField,
    Overloaded,
    StoreUnavailable,
    TooManyDownloads,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    Internal,
    ClusterUnavailable,
);

problem_set!(
    ResultProblems: NoSuchJob,
    NoResult,
    MalformedRequest,
    UnknownField,
    DuplicateField,
    InvalidField,
    Overloaded,
    StoreUnavailable,
    TooManyDownloads,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    TooManyAtOnce,
    Internal,
    ClusterUnavailable,
);
