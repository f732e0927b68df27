//! async-vision-api: a client uploads a picture and polls for its caption.
//!
//! Assumed, since the service's documentation does not say it: the case of a file name's extension does
//! not matter; the content can have any listed format, whatever the extension; an empty file is
//! answered 415, an unknown or expired id 404; of several files the last one counts.

use super::answer::Refusal;
use super::{Family, form};
use crate::error::{Problem, ProblemType};
use crate::results;
use crate::routes::health;
use crate::state::AppState;
use crate::submit::{Payload, Submission, submit};
use crate::upload::Upload;
use crate::validate::ValidRequest;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use fovea_crds::{InferenceJob, JobResult, Parameters, Phase, Task};
use http::request::Parts;
use image::ImageFormat;
use kube::ResourceExt as _;
use schemars::JsonSchema;
use serde::Serialize;

const FAMILY: Family = Family::AsyncVision;
/// Accepted extensions of a file's name.
const EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "gif", "bmp", "tiff", "ico"];
/// Accepted formats of its bytes.
const FORMATS: [ImageFormat; 6] = [
    ImageFormat::Jpeg,
    ImageFormat::Png,
    ImageFormat::Gif,
    ImageFormat::Bmp,
    ImageFormat::Tiff,
    ImageFormat::Ico,
];

/// The form of `POST /api/v1/upload`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "read part by part; this is its description")]
pub struct UploadForm {
    /// The picture: a file named *.jpg, jpeg, png, gif, bmp, tiff or ico, of at most 5 MiB and
    /// as many pixels as the API accepts, by default 89,478,485.
    #[schemars(extend("format" = "binary"))]
    file: String,
}

/// Answer to `POST /api/v1/upload`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Uploaded {
    /// Id of the job, a lower-case UUID, for requests of its status.
    pub job_id: String,
    /// Always `PENDING`: the job was just created.
    pub status: TaskState,
    /// Time of the upload in UTC with its offset, such as `2026-06-17T10:32:00+00:00`.
    pub submitted_at: Option<String>,
}

/// Answer to `GET /api/v1/status/{id}`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusView {
    /// Id of the job, as in the request's path.
    pub job_id: String,
    /// State of the job.
    pub status: TaskState,
    /// The caption; null unless the status is SUCCESS.
    pub result: Option<Caption>,
}

/// The result of a captioning job.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Caption {
    /// Text that describes the picture.
    pub caption: String,
}

/// State of a job, by the names of Celery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    /// Waiting for its first attempt.
    Pending,
    /// A runner works on the job.
    Started,
    /// An attempt failed; the job waits for another one.
    Retry,
    /// The job has ended with a caption.
    Success,
    /// The job failed or was cancelled; there is no caption.
    Failure,
}

/// Upload a picture to be captioned.
#[utoipa::path(
    post,
    path = "/api/v1/upload",
    operation_id = "asyncVisionUpload",
    tag = "async-vision-api",
    request_body(content((ref("#/components/schemas/UploadForm") = "multipart/form-data"))),
    responses(
        (status = 200, description = "The job was created.", body = ref("#/components/schemas/Uploaded")),
        (status = 400, description = "The body is not a valid form.", body = ref("#/components/schemas/Detail")),
        (status = 408, description = "The body did not arrive in time.", body = ref("#/components/schemas/Detail")),
        (status = 413, description = "The picture has more than 5 MiB, or too many pixels.", body = ref("#/components/schemas/Detail")),
        (status = 415, description = "The file name's extension is not accepted, or the file is not a picture.", body = ref("#/components/schemas/Detail")),
        (status = 422, description = "A field is missing.", body = ref("#/components/schemas/FieldErrors")),
        (status = 429, description = "The namespace's quota is used up, it has too many jobs, or there are too many requests, per second or under way.", body = ref("#/components/schemas/Detail")),
        (status = 500, description = "An unexpected error.", body = ref("#/components/schemas/Detail")),
        (status = 503, description = "The cluster or the object store is unavailable, or there are too many uploads at the same time.", body = ref("#/components/schemas/Detail")),
        (status = 504, description = "It is unknown whether the job was created. `Location` is its path if it was.", body = ref("#/components/schemas/Detail")),
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn upload(
    State(app): State<AppState>,
    request: Request,
) -> Result<Json<Uploaded>, Refusal> {
    let (parts, body) = request.into_parts();
    let max_bytes = app.config.compat.async_vision.max_bytes;
    let upload = app
        .intake
        .open(&parts.headers, body, form::body_limit(max_bytes));
    let made = accept(&app, &parts, &upload).await;
    if made.is_err() {
        upload.discard_rest().await;
    }
    let job = made?;
    Ok(Json(Uploaded {
        job_id: job.name_any(),
        status: TaskState::Pending,
        submitted_at: job
            .creation_timestamp()
            .map(|at| at.0.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()),
    }))
}

async fn accept(app: &AppState, parts: &Parts, upload: &Upload) -> Result<InferenceJob, Refusal> {
    let config = &app.config.compat.async_vision;
    let tenant = FAMILY.tenant(app, parts).await?;
    upload.charge_to(tenant.parties);
    let form = form::read(parts, upload, config.max_bytes, None).await?;
    let (file, []) = form.finish([])?;
    check_name(&file.name)?;
    check_format(&file.bytes)?;
    let submission = Submission {
        request: ValidRequest {
            task: Task::ImageToText,
            model: config.captioning_model.clone(),
            pool: None,
            priority: 0,
            parameters: Parameters::default(),
            reuse: false,
            callback_url: None,
            batch: None,
        },
        payload: Payload::Picture(file.bytes),
        idempotency_key: None,
        origin: FAMILY.origin(&app.config.compat),
    };
    Ok(submit(app, &tenant, submission).await?)
}

fn check_name(name: &str) -> Result<(), Problem> {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let accepted = |extension: &str| {
        EXTENSIONS
            .iter()
            .any(|accepted| accepted.eq_ignore_ascii_case(extension))
    };
    if extension.is_some_and(accepted) {
        return Ok(());
    }
    let detail = format!(
        "the file's name must end with one of {}",
        EXTENSIONS.join(", ")
    );
    Err(Problem::new(ProblemType::NotAPicture, detail))
}

/// Checks the first bytes only; `submit` checks the whole header.
fn check_format(bytes: &[u8]) -> Result<(), Problem> {
    match image::guess_format(bytes) {
        Ok(format) if FORMATS.contains(&format) => Ok(()),
        _ => Err(Problem::new(
            ProblemType::NotAPicture,
            "the file is not a JPEG, PNG, GIF, BMP, TIFF or ICO picture",
        )),
    }
}

/// Read the state of a captioning job, and its caption.
#[utoipa::path(
    get,
    path = "/api/v1/status/{id}",
    operation_id = "asyncVisionStatus",
    tag = "async-vision-api",
    params(("id" = String, Path, description = "The upload's `job_id`.")),
    responses(
        (status = 200, description = "The current state of the job.", body = ref("#/components/schemas/StatusView")),
        (status = 404, description = "No job of these routes has this id, or it has expired.", body = ref("#/components/schemas/Detail")),
        (status = 429, description = "There are too many requests, per second or under way.", body = ref("#/components/schemas/Detail")),
        (status = 500, description = "An unexpected error.", body = ref("#/components/schemas/Detail")),
        (status = 503, description = "The cluster or the object store is unavailable, or there are too many bytes of requests at the same time.", body = ref("#/components/schemas/Detail")),
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn status(
    State(app): State<AppState>,
    parts: Parts,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<StatusView>, Refusal> {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let (job, parties) = FAMILY.job(&app, &parts, &id).await?;
    let status = state(&job);
    let result = match status {
        TaskState::Success => match results::whole(&app, parties, &job).await? {
            Some(JobResult::Caption(caption)) => Some(Caption { caption }),
            Some(JobResult::Predictions(_) | JobResult::Detections(_)) | None => None,
        },
        TaskState::Pending | TaskState::Started | TaskState::Retry | TaskState::Failure => None,
    };
    Ok(Json(StatusView {
        job_id: job.name_any(),
        status,
        result,
    }))
}

/// Check that the cluster and the object store answer.
#[utoipa::path(
    get,
    path = "/api/v1/health",
    operation_id = "asyncVisionHealth",
    tag = "async-vision-api",
    responses(
        (status = 200, description = "Both answer.", body = ref("#/components/schemas/Health")),
        (status = 503, description = "At least one does not answer.", body = ref("#/components/schemas/Health")),
    ),
)]
pub(crate) async fn health(app: State<AppState>) -> Response {
    health::health(app).await
}

fn state(job: &InferenceJob) -> TaskState {
    let (phase, attempts) = job
        .status
        .as_ref()
        .map(|status| (status.phase, status.attempts))
        .unwrap_or_default();
    match phase {
        Phase::Pending if attempts > 0 => TaskState::Retry,
        Phase::Pending => TaskState::Pending,
        Phase::Running => TaskState::Started,
        Phase::Succeeded => TaskState::Success,
        Phase::Failed | Phase::Cancelled => TaskState::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_the_end_of_its_name() {
        for good in ["cat.jpg", "CAT.JPEG", "a.b.tiff", ".png", "../../x.ico"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "cat",
            "cat.",
            "cat.tif",
            "cat.webp",
            "cat.jpg.exe",
            "jpg",
        ] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
