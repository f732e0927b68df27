//! `POST /v1/jobs` creates a job from a picture; `GET /v1/jobs/{id}` reads it. Both wait for its end
//! if the client sends `Prefer: wait=N`.

pub(crate) mod content;
pub(crate) mod description;
pub(crate) mod end;
pub(crate) mod events;
mod form;
mod json;
pub(crate) mod list;
pub(crate) mod multipart;
mod token;
mod view;

pub(crate) use form::content_type;
pub(crate) use json::parse as parse_json;
pub use list::JobList;
pub use view::JobView;

use super::prefer::{PREFERENCE_APPLIED, Wait};
use super::query::Query;
use super::{JOB, JOBS};
use crate::auth::Tenant;
use crate::error::{Problem, ProblemType};
use crate::state::AppState;
use crate::submit::{Origin, Submission, submit};
use crate::validate::JobRequest;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use description::{JobForm, JobQuery, PictureBody, ReadProblems, SubmitProblems};
use fovea_crds::InferenceJob;
use http::header::{LOCATION, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use kube::ResourceExt as _;
use schemars::SchemaGenerator;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

/// Seconds until a client should first poll a new job.
const FIRST_POLL_SECONDS: u32 = 1;
const MAX_KEY_LENGTH: usize = 255;

/// Adds the schemas that the descriptions of these routes refer to.
pub(crate) fn schemas(generator: &mut SchemaGenerator) {
    generator.subschema_for::<JobView>();
    generator.subschema_for::<JobList>();
    generator.subschema_for::<events::JobEvent>();
    generator.subschema_for::<JobForm>();
    generator.subschema_for::<JobRequest<'_>>();
    generator.subschema_for::<PictureBody>();
}

/// Submit a picture.
///
/// The Content-Type selects one of three forms: the picture itself with all other fields in the query,
/// a multipart form, or JSON.
#[utoipa::path(
    post,
    path = JOBS,
    operation_id = "createJob",
    tag = "jobs",
    params(
        JobQuery,
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "Requests with the same key create one job."),
        ("Prefer" = Option<String>, Header, example = "wait=30",
            description = "`wait=N`: answer once the job has ended, or after N seconds; at most 60."),
    ),
    request_body(content(
        (ref("#/components/schemas/JobForm") = "multipart/form-data"),
        (ref("#/components/schemas/JobJson") = "application/json"),
        (ref("#/components/schemas/PictureBody") = "application/octet-stream"),
        (ref("#/components/schemas/PictureBody") = "image/*"),
    )),
    responses(
        (status = 200, description = "The job ended within the requested wait.", body = ref("#/components/schemas/JobView")),
        (status = 202, description = "The job was created.", body = ref("#/components/schemas/JobView"), headers(
            ("Location" = String, description = "The job's URL."),
            ("Retry-After" = u32, description = "Seconds until the first poll."),
        )),
        SubmitProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    tenant: Result<Tenant, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let kind = form::Kind::of(&parts.headers);
    let limit = kind
        .as_ref()
        .map_or(0, |kind| kind.body_limit(app.intake.max_upload_bytes));
    // Holds the upload's share of memory until the job is created.
    let upload = app.intake.open(&parts.headers, body, limit);
    let made = async {
        // Only now: the body of a refused request is read to its end as well.
        let tenant = tenant?;
        upload.charge_to(tenant.parties);
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
        let job = submit(&app, &tenant, submission).await?;
        Ok((tenant, job))
    };
    match made.await {
        Ok((tenant, job)) => {
            // Releases the memory before the wait.
            drop(upload);
            created(&app, &tenant, JOBS, Wait::of(&parts.headers), job).await
        }
        Err(problem) => {
            upload.discard_rest().await;
            Err(problem)
        }
    }
}

/// The answer to a submission: the job as created, or as it is after the wait.
pub(crate) async fn created(
    app: &AppState,
    tenant: &Tenant,
    path: &str,
    wait: Option<Wait>,
    job: InferenceJob,
) -> Result<Response, Problem> {
    let mut response = match wait {
        None => shown(StatusCode::ACCEPTED, &job),
        // The job exists, even if the wait fails.
        Some(wait) => match waited(app, tenant, &job.name_any(), wait).await {
            Ok((job, applied)) => preferred(shown(ok_or_accepted(&job), &job), applied),
            Err(problem) => {
                tracing::debug!(cause = problem.cause(), "the wait for a new job failed");
                shown(StatusCode::ACCEPTED, &job)
            }
        },
    };
    let location = format!("{path}/{}", job.name_any());
    let location = HeaderValue::try_from(location).map_err(Problem::internal)?;
    let accepted = response.status() == StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    if accepted {
        headers.insert(RETRY_AFTER, FIRST_POLL_SECONDS.into());
    }
    Ok(response)
}

/// Read a job.
#[utoipa::path(
    get,
    path = JOB,
    operation_id = "readJob",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job's id."),
        ("Prefer" = Option<String>, Header, example = "wait=30",
            description = "`wait=N`: answer once the job has ended, or after N seconds; at most 60."),
    ),
    responses(
        (status = 200, description = "The job.", body = ref("#/components/schemas/JobView")),
        ReadProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn read(
    State(app): State<AppState>,
    tenant: Tenant,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let Some(wait) = Wait::of(&headers) else {
        let job = app.jobs.get(&tenant, &id).await?;
        return Ok(shown(StatusCode::OK, &job));
    };
    let (job, applied) = waited(&app, &tenant, &id, wait).await?;
    Ok(preferred(shown(StatusCode::OK, &job), applied))
}

/// The job after the wait, and the value of `Preference-Applied`; `None` if the limit on waiting
/// requests was reached.
async fn waited(
    app: &AppState,
    tenant: &Tenant,
    id: &str,
    wait: Wait,
) -> Result<(Arc<InferenceJob>, Option<HeaderValue>), Problem> {
    let Ok(follower) = app.jobs.follow(tenant, id).await? else {
        return Ok((app.jobs.get(tenant, id).await?, None));
    };
    let job = follower.end(wait.duration(), &app.draining).await?;
    Ok((job, wait.applied().ok()))
}

fn ok_or_accepted(job: &InferenceJob) -> StatusCode {
    if job.is_finished() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    }
}

fn shown(status: StatusCode, job: &InferenceJob) -> Response {
    (status, Json(JobView::of(job))).into_response()
}

fn preferred(mut response: Response, applied: Option<HeaderValue>) -> Response {
    if let Some(applied) = applied {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    response
}

/// A job's id from the path. An id that is not UTF-8 becomes the empty id, which no job has.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let path: Result<Path<HashMap<String, String>>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(mut named)| named.remove("id"));
        Ok(Self(id.unwrap_or_default()))
    }
}

pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
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
