//! `POST /v1/jobs`: a picture becomes a job. `GET /v1/jobs/{id}`: how it fares. Both wait for its end
//! where a client prefers it.

pub(crate) mod content;
mod description;
pub(crate) mod end;
pub(crate) mod events;
mod form;
mod json;
pub(crate) mod list;
pub(crate) mod multipart;
mod token;
mod view;

pub use list::JobList;
pub use view::JobView;

use super::prefer::{PREFERENCE_APPLIED, Wait};
use super::query::Query;
use super::{JOB, JOBS};
use crate::auth::Tenant;
use crate::error::{Problem, ProblemType};
use crate::jobs::is_finished;
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

/// When a client should first ask for a new job's result, in seconds.
const FIRST_LOOK_SECONDS: u32 = 1;
/// Longest Idempotency-Key.
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
        ("Prefer" = Option<String>, Header, example = "wait=30",
            description = "`wait=N`: answer once the job has ended, or after N seconds, 60 at most."),
    ),
    request_body(content(
        (ref("#/components/schemas/JobForm") = "multipart/form-data"),
        (ref("#/components/schemas/JobJson") = "application/json"),
        (ref("#/components/schemas/PictureBody") = "application/octet-stream"),
        (ref("#/components/schemas/PictureBody") = "image/*"),
    )),
    responses(
        (status = 200, description = "The job has ended while it was waited for.", body = ref("#/components/schemas/JobView")),
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
    tenant: Result<Tenant, Problem>,
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
        // Not before: who is refused has its body read to the end as well.
        let tenant = tenant?;
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
            // The memory is for others while this one waits.
            drop(upload);
            created(&app, &tenant, Wait::of(&parts.headers), job).await
        }
        Err(problem) => {
            upload.discard_rest().await;
            Err(problem)
        }
    }
}

/// The answer to a submission: the job as it is made, or as it is after the wait.
async fn created(
    app: &AppState,
    tenant: &Tenant,
    wait: Option<Wait>,
    job: InferenceJob,
) -> Result<Response, Problem> {
    let mut response = match wait {
        None => shown(StatusCode::ACCEPTED, &job),
        // The job is made, whatever becomes of the wait.
        Some(wait) => match waited(app, tenant, &job.name_any(), wait).await {
            Ok((job, applied)) => {
                let status = if is_finished(&job) {
                    StatusCode::OK
                } else {
                    StatusCode::ACCEPTED
                };
                preferred(shown(status, &job), applied)
            }
            Err(problem) => {
                tracing::debug!(cause = problem.cause(), "the wait for a new job failed");
                shown(StatusCode::ACCEPTED, &job)
            }
        },
    };
    let location = format!("{JOBS}/{}", job.name_any());
    let location = HeaderValue::try_from(location).map_err(Problem::internal)?;
    let accepted = response.status() == StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    if accepted {
        headers.insert(RETRY_AFTER, FIRST_LOOK_SECONDS.into());
    }
    Ok(response)
}

/// How a job fares.
#[utoipa::path(
    get,
    path = JOB,
    operation_id = "readJob",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The id that the submission answered."),
        ("Prefer" = Option<String>, Header, example = "wait=30",
            description = "`wait=N`: answer once the job has ended, or after N seconds, 60 at most."),
    ),
    responses(
        (status = 200, description = "The job as it is.", body = ref("#/components/schemas/JobView")),
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
        let job = app.jobs.get(&tenant.namespace, &id).await?;
        return Ok(shown(StatusCode::OK, &job));
    };
    let (job, applied) = waited(&app, &tenant, &id, wait).await?;
    Ok(preferred(shown(StatusCode::OK, &job), applied))
}

/// The job after the wait, and what to tell of it; nothing where there was no place for another
/// waiter.
async fn waited(
    app: &AppState,
    tenant: &Tenant,
    id: &str,
    wait: Wait,
) -> Result<(Arc<InferenceJob>, Option<HeaderValue>), Problem> {
    let Some(follower) = app.jobs.follow(&tenant.namespace, id).await? else {
        return Ok((app.jobs.get(&tenant.namespace, id).await?, None));
    };
    let job = follower.end(wait.duration(), &app.draining).await?;
    Ok((job, wait.applied().ok()))
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

/// A job's id out of the path. One that is no text names no job, and is looked for as none.
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
