//! The forms of a submission, as the API's description shows them. What is read is read elsewhere,
//! part by part; a test in `openapi` and the tables of bad input hold the two together.

use crate::openapi::{binary, problem_set, reference};
use fovea_crds::bounds::{MAX_KEY_LENGTH, MAX_LABEL_LENGTH, MAX_PRIORITY};
use fovea_crds::{Parameters, Task};
use schemars::JsonSchema;
use serde::Serialize;

/// A name as Kubernetes knows them.
const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A job as a form.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobForm {
    /// The picture: JPEG, PNG, GIF, BMP, TIFF, ICO or WebP.
    #[schemars(schema_with = "binary")]
    file: String,
    #[serde(flatten)]
    fields: Fields,
    #[serde(flatten)]
    parameters: Parameters,
}

/// A job as JSON. The picture is given as exactly one of `data` and `key`.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct JobJson {
    /// The picture as base64 on one line, or as a data URI with base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// The picture's path below `data/<namespace>/` in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
    key: Option<String>,
    /// What to do; image-to-text where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Task>,
    /// A model that the pool serves; the pool's default for the task where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH), regex(pattern = LABEL))]
    model: Option<String>,
    /// The pool, `name` or `namespace/name`; the installation's default where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    /// Order within the namespace, higher first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -MAX_PRIORITY, max = MAX_PRIORITY))]
    priority: Option<i32>,
    /// Where the job's end is told, by https.
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<String>,
    /// Settings of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
}

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    /// What to do; image-to-text where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Task>,
    /// A model that the pool serves; the pool's default for the task where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH), regex(pattern = LABEL))]
    model: Option<String>,
    /// The pool, `name` or `namespace/name`; the installation's default where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    /// Order within the namespace, higher first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -MAX_PRIORITY, max = MAX_PRIORITY))]
    priority: Option<i32>,
    /// Where the job's end is told, by https.
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<String>,
}

/// The picture itself.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
pub(crate) struct PictureBody(#[schemars(schema_with = "binary")] String);

/// The same fields beside a picture that is the whole body.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, non_snake_case, reason = "a description")]
pub(crate) struct JobQuery {
    /// What to do; image-to-text where left out.
    #[param(schema_with = reference::<Task>)]
    task: Option<Task>,
    /// A model that the pool serves; the pool's default for the task where left out.
    #[param(
        min_length = 1,
        max_length = 63,
        pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
    )]
    model: Option<String>,
    /// The pool, `name` or `namespace/name`; the installation's default where left out.
    pool: Option<String>,
    /// Order within the namespace, higher first.
    #[param(minimum = -1000, maximum = 1000)]
    priority: Option<i32>,
    /// Where the job's end is told, by https.
    callbackUrl: Option<String>,
    /// image-to-text: how many tokens to write at most.
    #[param(minimum = 1, maximum = 512)]
    maxNewTokens: Option<u32>,
    /// image-to-text: how many sequences a beam search follows.
    #[param(minimum = 1, maximum = 10)]
    numBeams: Option<u32>,
    /// image-to-text: words that the caption begins with.
    #[param(min_length = 1, max_length = 512)]
    prompt: Option<String>,
    /// image-classification: how many labels.
    #[param(minimum = 1, maximum = 1000)]
    topK: Option<u32>,
    /// object-detection: the least score, in thousandths.
    #[param(minimum = 0, maximum = 1000)]
    scoreThresholdPermille: Option<u32>,
}

problem_set!(
    SubmitProblems: MalformedRequest,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
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
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
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
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    Internal,
    ClusterUnavailable,
);

problem_set!(
    FollowProblems: NoSuchJob,
    MalformedRequest,
    UnknownField,
    TooManyWaiters,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    Internal,
    ClusterUnavailable,
);

problem_set!(
    CancelProblems: NoSuchJob,
    MalformedRequest,
    UnknownField,
    AlreadyFinished,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    Internal,
    ClusterUnavailable,
);

problem_set!(
    DeleteProblems: NoSuchJob,
    MalformedRequest,
    UnknownField,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
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
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    Internal,
    ClusterUnavailable,
);

problem_set!(
    ResultProblems: NoSuchJob,
    NoResult,
    MalformedRequest,
    UnknownField,
    Overloaded,
    StoreUnavailable,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    RateLimited,
    Internal,
    ClusterUnavailable,
);
