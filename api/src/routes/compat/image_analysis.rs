//! AI-image-analysis-service: a client uploads a picture to have it classified or searched for objects.
//!
//! Assumed, since the service's documentation does not say it: the messages of jobs that are not
//! completed (such as "Job is pending"); a job that waits for another attempt is PENDING, a cancelled
//! job FAILED; times have no fractions of seconds; labels, scores and whole-pixel boxes are as in Hugging
//! Face's pipelines; of several files the last one counts.

mod view;

pub use view::{
    Accepted, AnalysisForm, AnalysisType, Edge, JobState, JobStatus, Object, Place, Predictions,
    Results,
};

use super::answer::Refusal;
use super::{Family, form};
use crate::config::ImageAnalysisConfig;
use crate::error::{Problem, ProblemType};
use crate::results;
use crate::state::AppState;
use crate::submit::{Payload, Submission, submit};
use crate::upload::Upload;
use crate::validate::ValidRequest;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use fovea_crds::{InferenceJob, InferenceJobStatus, Parameters, Phase, Task};
use http::StatusCode;
use http::request::Parts;
use image::ImageFormat;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

const FAMILY: Family = Family::ImageAnalysis;
/// Maximum number of labels of a classification.
const TOP_K: u32 = 5;
/// Minimum score of an object, in thousandths.
const THRESHOLD_PERMILLE: u32 = 500;
/// The text field that selects the analysis.
const ANALYSIS_TYPE: &str = "analysis_type";
/// UTC without offset, as Python writes a time without zone.
const NAIVE: &str = "%Y-%m-%dT%H:%M:%S";

/// Upload a picture to be classified or searched for objects.
#[utoipa::path(
    post,
    path = "/upload-image",
    operation_id = "imageAnalysisUpload",
    tag = "AI-image-analysis-service",
    request_body(content((ref("#/components/schemas/AnalysisForm") = "multipart/form-data"))),
    responses(
        (status = 202, description = "The job was created.", body = ref("#/components/schemas/Accepted")),
        (status = 400, description = "The picture is too large or not a JPEG or PNG, analysis_type is invalid, or the body is not a valid form.", body = ref("#/components/schemas/Detail")),
        (status = 408, description = "The body did not arrive in time.", body = ref("#/components/schemas/Detail")),
        (status = 422, description = "A field is missing.", body = ref("#/components/schemas/FieldErrors")),
        (status = 429, description = "The namespace's quota is used up, it has too many jobs, or there are too many requests, per second or under way.", body = ref("#/components/schemas/Detail")),
        (status = 500, description = "The cluster or the object store is unavailable, or an unexpected error occurred.", body = ref("#/components/schemas/Detail")),
        (status = 503, description = "There are too many uploads at the same time.", body = ref("#/components/schemas/Detail")),
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn upload(
    State(app): State<AppState>,
    request: Request,
) -> Result<(StatusCode, Json<Accepted>), Refusal> {
    let (parts, body) = request.into_parts();
    let max_bytes = app.config.compat.image_analysis.max_bytes;
    let upload = app
        .intake
        .open(&parts.headers, body, form::body_limit(max_bytes));
    let made = accept(&app, &parts, &upload).await;
    if made.is_err() {
        upload.discard_rest().await;
    }
    let accepted = Accepted {
        job_id: made?.name_any(),
        status: JobState::Pending,
        message: "Image uploaded successfully and queued for analysis",
    };
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

async fn accept(app: &AppState, parts: &Parts, upload: &Upload) -> Result<InferenceJob, Refusal> {
    let config = &app.config.compat.image_analysis;
    let tenant = FAMILY.tenant(app, parts).await?;
    upload.charge_to(tenant.parties);
    let form = form::read(parts, upload, config.max_bytes, Some(ANALYSIS_TYPE)).await?;
    let (file, [analysis_type]) = form.finish([ANALYSIS_TYPE])?;
    let request = job_request(&analysis_type, config)?;
    if !matches!(
        image::guess_format(&file.bytes),
        Ok(ImageFormat::Jpeg | ImageFormat::Png)
    ) {
        let detail = "the file is not a JPEG or PNG picture";
        return Err(Problem::new(ProblemType::NotAPicture, detail).into());
    }
    let submission = Submission {
        request,
        payload: Payload::Picture(file.bytes),
        idempotency_key: None,
        origin: FAMILY.origin(&app.config.compat),
    };
    Ok(submit(app, &tenant, submission).await?)
}

fn job_request(analysis_type: &str, config: &ImageAnalysisConfig) -> Result<ValidRequest, Problem> {
    let (task, model, parameters) = match analysis_type {
        "classification" => (
            Task::ImageClassification,
            &config.classification_model,
            Parameters {
                top_k: Some(TOP_K),
                ..Parameters::default()
            },
        ),
        "object_detection" => (
            Task::ObjectDetection,
            &config.object_detection_model,
            Parameters {
                score_threshold_permille: Some(THRESHOLD_PERMILLE),
                ..Parameters::default()
            },
        ),
        _ => {
            let detail = "analysis_type must be \"classification\" or \"object_detection\"";
            return Err(Problem::new(ProblemType::InvalidField, detail));
        }
    };
    Ok(ValidRequest {
        task,
        model: model.clone(),
        pool: None,
        priority: 0,
        parameters,
        reuse: false,
        callback_url: None,
        batch: None,
    })
}

/// Read the state of an analysis, and its results.
#[utoipa::path(
    get,
    path = "/job-status/{id}",
    operation_id = "imageAnalysisStatus",
    tag = "AI-image-analysis-service",
    params(("id" = String, Path, description = "The upload's `job_id`.")),
    responses(
        (status = 200, description = "The current state of the job.", body = ref("#/components/schemas/JobStatus")),
        (status = 404, description = "No job of these routes has this id, or it has expired.", body = ref("#/components/schemas/Detail")),
        (status = 429, description = "There are too many requests, per second or under way.", body = ref("#/components/schemas/Detail")),
        (status = 500, description = "The cluster or the object store is unavailable, or an unexpected error occurred.", body = ref("#/components/schemas/Detail")),
        (status = 503, description = "There are too many bytes of requests at the same time.", body = ref("#/components/schemas/Detail")),
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn status(
    State(app): State<AppState>,
    parts: Parts,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobStatus>, Refusal> {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let (job, parties) = FAMILY.job(&app, &parts, &id).await?;
    let state = state(&job);
    let results = if state == JobState::Completed {
        let whole_pixels = app.config.compat.image_analysis.whole_pixels;
        let whole = results::whole(&app, parties, &job).await?;
        whole.and_then(|result| Results::of(result, whole_pixels))
    } else {
        None
    };
    let naive = |at: Time| at.0.strftime(NAIVE).to_string();
    Ok(Json(JobStatus {
        job_id: job.name_any(),
        status: state,
        message: state.message(),
        results,
        error_message: error_message(&job),
        created_at: job.creation_timestamp().map(naive),
        updated_at: updated_at(&job).map(naive),
    }))
}

fn state(job: &InferenceJob) -> JobState {
    match job.phase() {
        Phase::Pending => JobState::Pending,
        Phase::Running => JobState::Processing,
        Phase::Succeeded => JobState::Completed,
        Phase::Failed | Phase::Cancelled => JobState::Failed,
    }
}

fn error_message(job: &InferenceJob) -> Option<String> {
    let status = job.status.as_ref()?;
    match status.phase {
        Phase::Pending | Phase::Running | Phase::Succeeded => None,
        Phase::Cancelled => Some("the job was cancelled".to_owned()),
        Phase::Failed => Some(match &status.failure {
            Some(failure) => failure.message.clone(),
            None => "the job failed".to_owned(),
        }),
    }
}

/// The latest time in the job's metadata and status.
fn updated_at(job: &InferenceJob) -> Option<Time> {
    let nothing = InferenceJobStatus::default();
    let status = job.status.as_ref().unwrap_or(&nothing);
    let conditions = status
        .conditions
        .iter()
        .map(|condition| condition.last_transition_time.clone());
    conditions
        .chain(job.creation_timestamp())
        .chain(status.start_time.clone())
        .chain(status.completion_time.clone())
        .max_by_key(|at| at.0)
}
