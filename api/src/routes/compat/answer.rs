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

/// Why a request of these routes is refused.
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
            // `frame` converts it.
            Self::Problem(problem) => problem.into_response(),
            Self::Fields(detail) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                Json(FieldErrors { detail }),
            )
                .into_response(),
        }
    }
}

/// An error of these routes.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Detail {
    /// What is wrong.
    detail: String,
}

/// What is wrong with a form, as FastAPI tells it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FieldErrors {
    /// One entry a field.
    detail: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FieldError {
    /// `missing` or `value_error`.
    r#type: &'static str,
    /// `["body", <the field>]`.
    loc: [&'static str; 2],
    /// For people.
    msg: &'static str,
    /// What was sent, null where nothing was.
    input: Option<String>,
    /// Pydantic's own, with a `value_error` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Context>,
}

/// Pydantic's own.
#[derive(Debug, Serialize, JsonSchema)]
struct Context {
    /// Always `{}`.
    error: Empty,
}

/// `{}`
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

    /// Text instead of a file.
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
        // The path of a job whose creation has an unknown outcome.
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

/// Starlette's texts for its own errors; ours for the rest.
fn text(problem: &Problem) -> String {
    match problem.kind {
        ProblemType::NoSuchRoute => "Not Found".to_owned(),
        ProblemType::MethodNotAllowed => "Method Not Allowed".to_owned(),
        // Assumed: the texts give the status only.
        ProblemType::NoSuchJob => "Job not found".to_owned(),
        _ => problem.detail.clone(),
    }
}

/// 413 and 415 are the original service's; errors that the client cannot fix are `unavailable` or 500
/// (assumed).
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
