//! `POST /v1/jobs`: a picture becomes a job. `GET /v1/jobs/{id}`: how it fares.

mod description;
mod form;
mod json;
pub(crate) mod multipart;
mod view;

pub(crate) use description::{JobForm, JobJson, PictureBody};
pub use view::JobView;

use super::{JOB, JOBS};
use crate::app::AppState;
use crate::error::{Problem, ProblemType};
use crate::submit::{Origin, Submission, submit};
use crate::tenant::Tenant;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use description::{JobQuery, ReadProblems, SubmitProblems};
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

/// When a client should first ask for a new job's result, in seconds.
const FIRST_LOOK_SECONDS: u32 = 1;
/// Longest Idempotency-Key.
const MAX_KEY_LENGTH: usize = 255;

/// Submit a picture.
///
/// In one of three forms, told apart by Content-Type: the picture itself with everything else in the
/// query, a multipart form, or JSON.
#[utoipa::path(
    post,
    path = JOBS,
    operation_id = "createJob",
    tag = "jobs",
    params(
        JobQuery,
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "A request repeated under the same key is the same job."),
    ),
    request_body(content(
        (ref("#/components/schemas/JobForm") = "multipart/form-data"),
        (ref("#/components/schemas/JobJson") = "application/json"),
        (ref("#/components/schemas/PictureBody") = "application/octet-stream"),
        (ref("#/components/schemas/PictureBody") = "image/*"),
    )),
    responses(
        (status = 202, description = "The job is made.", body = ref("#/components/schemas/JobView"), headers(
            ("Location" = String, description = "Where the job is."),
            ("Retry-After" = u32, description = "When to look first, in seconds."),
        )),
        SubmitProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    tenant: Tenant,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let kind = form::Kind::of(&parts.headers);
    let limit = kind
        .as_ref()
        .map_or(0, |kind| kind.body_limit(app.intake.max_upload_bytes));
    // Holds the upload's share of memory till the job is made.
    let upload = app.intake.open(&parts.headers, body, limit);
    let made = async {
        let idempotency_key = idempotency_key(&parts.headers)?;
        let (request, payload) = form::read(
            kind?,
            &parts,
            &upload,
            &tenant.namespace,
            app.intake.max_upload_bytes,
        )
        .await?;
        let submission = Submission {
            request,
            payload,
            idempotency_key,
            origin: Origin::OWN,
        };
        submit(&app, &tenant, submission).await
    };
    match made.await {
        Ok(job) => {
            let view = JobView::of(&job);
            let headers = [
                (LOCATION, format!("{JOBS}/{}", view.id)),
                (RETRY_AFTER, FIRST_LOOK_SECONDS.to_string()),
            ];
            Ok((StatusCode::ACCEPTED, headers, Json(view)).into_response())
        }
        Err(problem) => {
            upload.discard_rest().await;
            Err(problem)
        }
    }
}

/// How a job fares.
#[utoipa::path(
    get,
    path = JOB,
    operation_id = "readJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The id that the submission answered.")),
    responses(
        (status = 200, description = "The job as it is.", body = ref("#/components/schemas/JobView")),
        ReadProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn read(
    State(app): State<AppState>,
    tenant: Tenant,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobView>, Problem> {
    // A path that is no text names no job either.
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let job = app.jobs.get(&tenant.namespace, &id).await?;
    Ok(Json(JobView::of(&job)))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let malformed = |why: &str| {
        Problem::new(
            ProblemType::MalformedRequest,
            format!("Idempotency-Key: {why}"),
        )
    };
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    if keys.next().is_some() {
        return Err(malformed("send it once"));
    }
    let key = key.as_bytes();
    if key.is_empty() || key.len() > MAX_KEY_LENGTH || !key.iter().all(|b| (0x20..0x7f).contains(b))
    {
        return Err(malformed("1 to 255 printable ASCII characters"));
    }
    Ok(Some(String::from_utf8_lossy(key).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn an_idempotency_key_is_short_printable_and_given_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(idempotency_key(&headers).unwrap(), None);
        headers.insert("idempotency-key", HeaderValue::from_static("order 7/a"));
        assert_eq!(
            idempotency_key(&headers).unwrap().as_deref(),
            Some("order 7/a")
        );
        headers.append("idempotency-key", HeaderValue::from_static("order 8"));
        assert!(idempotency_key(&headers).is_err());
        for wrong in [&b""[..], b"a\tb", b"\xff", &[b'a'; 256]] {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_bytes(wrong).unwrap());
            assert!(idempotency_key(&headers).is_err(), "{wrong:?}");
        }
    }
}
