//! `GET /v1/jobs/{id}/input`: the picture. `GET /v1/jobs/{id}/result`: the whole result, even if
//! the job shows only its head.

use super::Id;
use super::description::{InputProblems, ResultProblems};
use crate::auth::Tenant;
use crate::batch::{Format, Renderer, Row};
use crate::download::{attachment, unread};
use crate::error::{Problem, ProblemType};
use crate::results;
use crate::routes::formats::{check as check_format, format as format_of};
use crate::routes::query::Query;
use crate::routes::{JOB_INPUT, JOB_RESULT};
use crate::shares::Parties;
use crate::state::AppState;
use crate::validate::{FieldError, excerpt, format};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use fovea_crds::{InferenceJob, Input, Phase};
use fovea_store::{FolderOwner, ObjectKey, Presentation, Sha256, StoreError};
use http::Uri;
use image::ImageFormat;
use kube::ResourceExt as _;

/// Bytes at the start of a picture that determine its format.
const MAGIC_BYTES: u64 = 64;

/// Download the picture of a job.
#[utoipa::path(
    get,
    path = JOB_INPUT,
    operation_id = "readInput",
    tag = "jobs",
    params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The picture, as an attachment.", body = ref("#/components/schemas/PictureBody"), content_type = "image/*"),
        (status = 307, description = "Redirect to a signed URL, which expires."),
        InputProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn input(
    State(app): State<AppState>,
    tenant: Tenant,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let job = app.jobs.get(&tenant, &id).await?;
    let key = match &job.spec.input {
        Input::Inline { .. } => {
            let data = app.jobs.inline_picture(&tenant, &job).await?;
            let data = data.ok_or_else(no_picture)?;
            let format = format(&data).ok_or_else(no_picture)?;
            return attachment(picture(format, &disposition(&id, format)), data);
        }
        Input::Upload { sha256 } => {
            let digest = sha256.parse::<Sha256>().map_err(Problem::internal)?;
            let uid = app.namespaces.uid(&tenant.namespace).await?;
            ObjectKey::upload(&tenant.namespace, &uid, &digest)
        }
        Input::Object { key } => {
            let _turn = app.store_turn(tenant.parties).await?;
            is_own_folder(&app, &tenant.namespace).await?;
            ObjectKey::data(&tenant.namespace, key)
        }
        Input::Prefix { .. } | Input::Manifest { .. } | Input::Archives { .. } => {
            return Err(no_picture());
        }
    };
    let key = key.map_err(Problem::internal)?;
    let turn = app.store_turn(tenant.parties).await?;
    let head = app.store.head(&key, MAGIC_BYTES).await;
    drop(turn);
    let head = head.map_err(|error| match error {
        StoreError::NotFound { .. } => no_picture(),
        error => unread(error),
    })?;
    let format = format(&head).ok_or_else(no_picture)?;
    let disposition = disposition(&id, format);
    app.downloads
        .send(
            tenant.parties,
            &key,
            picture(format, &disposition),
            no_picture,
        )
        .await
}

/// Read the whole result of a job.
#[utoipa::path(
    get,
    path = JOB_RESULT,
    operation_id = "readResult",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job's id."),
        ("format" = Option<String>, Query, description = "`json` (the default), `csv`, or `coco` for object-detection: as a batch of one picture has them. The row's id is the job's."),
    ),
    responses(
        (status = 200, description = "The result.", content(
            (ref("#/components/schemas/JobResult") = "application/json"),
            (ref("#/components/schemas/Rows") = "text/csv"),
        )),
        (status = 307, description = "Redirect to a signed URL, which expires."),
        ResultProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn result(
    State(app): State<AppState>,
    tenant: Tenant,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::of(&uri, "format")?;
    let format = query.get("format").filter(|format| *format != "json");
    let format = format.map(results_format).transpose()?;
    // Not from the cache: another replica, whose watch is ahead, may have reported the end.
    let job = app.jobs.fetch(&tenant, &id).await?;
    let Some(status) = job.status.as_ref().filter(|status| status.result.is_some()) else {
        return Err(no_result(&job));
    };
    if let Some(format) = format {
        return rendered(&app, tenant.parties, &job, format).await;
    }
    if status.result_sha256.is_none() {
        return Ok(Json(&status.result).into_response());
    }
    let key = results::key(&job).map_err(Problem::internal)?;
    let presentation = Presentation {
        content_type: "application/json",
        disposition: &format!("attachment; filename=\"{id}.json\""),
    };
    app.downloads
        .send(tenant.parties, &key, presentation, || no_result(&job))
        .await
}

/// A format other than JSON.
fn results_format(name: &str) -> Result<Format, FieldError> {
    format_of(name)
        .ok()
        .filter(|format| *format != Format::Jsonl)
        .ok_or_else(|| {
            let why = format!("{:?} is none of json, csv, coco", excerpt(name));
            FieldError::Invalid {
                name: "format",
                why,
            }
        })
}

/// The whole result as a batch of one picture has it.
async fn rendered(
    app: &AppState,
    parties: Parties,
    job: &InferenceJob,
    format: Format,
) -> Result<Response, Problem> {
    check_format(format, job.spec.task)?;
    let _admitted = app.downloads.admit(parties, 0).await?;
    let result = results::whole(app, parties, job).await?;
    let result = result.ok_or_else(|| no_result(job))?;
    let key = match &job.spec.input {
        Input::Object { key } => key.as_str(),
        _ => "",
    };
    let model = job.status.as_ref().and_then(|status| status.model.clone());
    let row = Row::of(&job.name_any(), key, result, model);
    let mut renderer = Renderer::new(format, job.spec.task, None);
    let mut text = renderer.begin();
    renderer.row(&row, &mut text).map_err(Problem::internal)?;
    text.push_str(renderer.end());
    let (content_type, extension) = format.file();
    let presentation = Presentation {
        content_type,
        disposition: &format!("attachment; filename=\"{}.{extension}\"", job.name_any()),
    };
    attachment(presentation, text)
}

/// Checks that the folder of a namespace below `data/` is not that of an earlier namespace of the same name.
/// The operator creates the marker before it first runs a job on the folder.
async fn is_own_folder(app: &AppState, namespace: &str) -> Result<(), Problem> {
    let uid = app.namespaces.uid(namespace).await?;
    match (app.store.folder_owner(namespace, &uid).await).map_err(unread)? {
        None | Some(FolderOwner::Us | FolderOwner::UsFromNow) => Ok(()),
        Some(FolderOwner::Other(_)) => {
            let detail = format!(
                "the folder data/{namespace}/ belongs to an earlier namespace of this name; whoever may write to the bucket can hand it over, by data/{namespace}/.fovea-namespace"
            );
            Err(Problem::new(ProblemType::NoSuchPicture, detail))
        }
    }
}

fn picture(format: ImageFormat, disposition: &str) -> Presentation<'_> {
    Presentation {
        content_type: format.to_mime_type(),
        disposition,
    }
}

/// The id is a valid job name, which needs no quoting.
fn disposition(id: &str, format: ImageFormat) -> String {
    let extension = format.extensions_str().first().copied().unwrap_or("bin");
    format!("attachment; filename=\"{id}.{extension}\"")
}

fn no_picture() -> Problem {
    let detail = "the object that the job names does not exist or is not a picture";
    Problem::new(ProblemType::NoSuchPicture, detail)
}

fn no_result(job: &InferenceJob) -> Problem {
    let detail = match job.phase() {
        Phase::Pending | Phase::Running => {
            "the job has not ended yet: wait for it with `Prefer: wait=60` on the job, or read its events"
        }
        Phase::Failed | Phase::Cancelled | Phase::Succeeded => {
            "the job ended without a result: its `failure` says why"
        }
    };
    Problem::new(ProblemType::NoResult, detail)
}
