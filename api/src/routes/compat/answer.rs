//! Errors in FastAPI's format: `detail` is a string or a list of field errors.

use super::Family;
use crate::config::CompatConfig;
use crate::error::{Problem, ProblemType};
use crate::middleware;
use crate::state::AppState;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

/// The reason why one of these routes refuses a request.
#[derive(Debug)]
pub(crate) enum Refusal {
    Problem(Problem),
    Fields(Vec<FieldError>),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            // `frame` converts it to the family's format.
            Self::Problem(problem) => problem.into_response(),
            Self::Fields(detail) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                Json(FieldErrors { detail }),
            )
                .into_response(),
        }
    }
}

/// Answer to a request that failed, in FastAPI's format.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Detail {
    /// What is wrong, in a sentence.
    detail: String,
}

/// Answer to a form with invalid fields, in FastAPI's format.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FieldErrors {
    /// The invalid fields, one entry for each.
    detail: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FieldError {
    /// Kind of error: `missing` or `value_error`.
    r#type: &'static str,
    /// Place of the field in the request: `["body", "<name>"]`.
    loc: [&'static str; 2],
    /// Explanation of the error for people.
    msg: &'static str,
    /// Value that was sent; null if the field is missing.
    input: Option<String>,
    /// Present with a `value_error` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Context>,
}

/// Details of a `value_error`, which Pydantic adds; here always empty.
#[derive(Debug, Serialize, JsonSchema)]
struct Context {
    /// Always an empty object, `{}`.
    error: Empty,
}

/// An object without members, `{}`.
#[derive(Debug, Serialize, JsonSchema)]
struct Empty {}

impl FieldError {
    pub(super) fn missing(field: &'static str) -> Self {
        Self {
            r#type: "missing",
            loc: ["body", field],
            msg: "Field required",
            input: None,
            ctx: None,
        }
    }

    /// The error for a field that holds text instead of a file.
    pub(super) fn not_a_file(field: &'static str, text: String) -> Self {
        Self {
            r#type: "value_error",
            loc: ["body", field],
            msg: "Value error, Expected UploadFile, received: <class 'str'>",
            input: Some(text),
            ctx: Some(Context { error: Empty {} }),
        }
    }
}

/// Converts every error under a family's paths to the family's format, from any layer.
pub(crate) async fn frame(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let family = Family::of(request.uri().path(), &app.config.compat);
    let mut response = next.run(request).await;
    if let Some(family) = family
        && let Some(problem) = middleware::take_problem(&mut response)
    {
        middleware::log(&problem);
        return family.render(&problem, response, &app.config.compat);
    }
    response
}

impl Family {
    /// The problem in the family's format; the response keeps its headers (Retry-After, Allow).
    fn render(self, problem: &Problem, mut response: Response, config: &CompatConfig) -> Response {
        let detail = Detail {
            detail: text(problem),
        };
        *response.status_mut() = match self {
            Self::AsyncVision => {
                let status = config.async_vision.unavailable_status;
                let unavailable = StatusCode::from_u16(status);
                async_vision(
                    problem.kind,
                    unavailable.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                )
            }
            Self::ImageAnalysis => image_analysis(problem.kind),
        };
        *response.body_mut() = Body::from(serde_json::to_vec(&detail).unwrap_or_default());
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Present if the outcome of a job's creation is unknown: where the job would be.
        let location = headers.remove(LOCATION).and_then(|location| {
            let id = location.to_str().ok()?.rsplit('/').next()?;
            HeaderValue::from_str(&format!("{}{id}", self.job_path())).ok()
        });
        if let Some(location) = location {
            headers.insert(LOCATION, location);
        }
        response
    }
}

/// Text for the client: Starlette's for the errors that it makes itself, else the problem's detail.
fn text(problem: &Problem) -> String {
    match problem.kind {
        ProblemType::NoSuchRoute => "Not Found".to_owned(),
        ProblemType::MethodNotAllowed => "Method Not Allowed".to_owned(),
        // Assumed: the service's documentation gives the status only.
        ProblemType::NoSuchJob => "Job not found".to_owned(),
        _ => problem.detail.clone(),
    }
}

/// 413 and 415 are statuses of the original service. Assumed: an error that the client cannot fix is
/// answered `unavailable` or 500.
fn async_vision(kind: ProblemType, unavailable: StatusCode) -> StatusCode {
    match kind {
        ProblemType::MissingPicture => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ProblemType::StoreUnavailable | ProblemType::ClusterUnavailable => unavailable,
        ProblemType::RejectedByCluster
        | ProblemType::RefusedByCluster
        | ProblemType::NoSuchNamespace => StatusCode::INTERNAL_SERVER_ERROR,
        kind => kind.status(),
    }
}

/// As the original service: 400 for a refused picture, 500 while a dependency is down.
fn image_analysis(kind: ProblemType) -> StatusCode {
    match kind {
        ProblemType::TooLarge
        | ProblemType::TooManyPixels
        | ProblemType::NotAPicture
        | ProblemType::MissingPicture
        | ProblemType::InvalidField => StatusCode::BAD_REQUEST,
        ProblemType::StoreUnavailable
        | ProblemType::ClusterUnavailable
        | ProblemType::RejectedByCluster
        | ProblemType::RefusedByCluster
        | ProblemType::NoSuchNamespace
        | ProblemType::OutcomeUnknown => StatusCode::INTERNAL_SERVER_ERROR,
        kind => kind.status(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_with_a_string_detail_is_a_422() {
        // FastAPI's clients expect a list in a 422.
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        for kind in [
            ProblemType::TooLarge,
            ProblemType::TooManyPixels,
            ProblemType::NotAPicture,
            ProblemType::MissingPicture,
            ProblemType::RejectedByCluster,
            ProblemType::StoreUnavailable,
        ] {
            assert_ne!(async_vision(kind, unavailable), 422, "{kind:?}");
            assert_ne!(image_analysis(kind), 422, "{kind:?}");
        }
    }

    #[test]
    fn a_full_namespace_is_a_429_which_clients_know_as_to_be_tried_again() {
        for kind in [
            ProblemType::TooManyFinishedJobs,
            ProblemType::TooManyUnfinishedJobs,
            ProblemType::QuotaExceeded,
        ] {
            assert_eq!(async_vision(kind, StatusCode::SERVICE_UNAVAILABLE), 429);
            assert_eq!(image_analysis(kind), 429);
        }
    }

    #[test]
    fn field_errors_have_fastapi_s_format() {
        let errors = FieldErrors {
            detail: vec![
                FieldError::missing("file"),
                FieldError::not_a_file("file", "x".to_owned()),
            ],
        };
        assert_eq!(
            serde_json::to_value(errors).unwrap(),
            serde_json::json!({"detail": [
                {"type": "missing", "loc": ["body", "file"], "msg": "Field required", "input": null},
                {"type": "value_error", "loc": ["body", "file"], "input": "x", "ctx": {"error": {}},
                 "msg": "Value error, Expected UploadFile, received: <class 'str'>"},
            ]})
        );
    }
}
