//! `/v1/batches`: jobs on many pictures. A batch is a job, so `/v1/jobs/{id}` shows, cancels and deletes it as well.

pub(crate) mod create;
mod description;
mod form;
pub(crate) mod list;
pub(crate) mod results;
pub(crate) mod retry;

pub use list::BatchList;

use super::jobs::{Id, JobView, end, events};
use super::query::Query;
use super::{BATCH, BATCH_CANCEL, BATCH_EVENTS};
use crate::auth::Tenant;
use crate::batch::CocoResults;
use crate::error::{Problem, ProblemType};
use crate::routes::jobs;
use crate::routes::jobs::description::{
    CancelProblems, DeleteProblems, FollowProblems, ReadProblems,
};
use crate::state::{App, AppState};
use crate::validate::BatchRequest;
use axum::extract::State;
use axum::response::Response;
use description::{BatchForm, UploadBody};
use fovea_crds::InferenceJob;
use http::{HeaderMap, StatusCode, Uri};
use schemars::SchemaGenerator;
use std::sync::Arc;

/// Adds the schemas that the descriptions of these routes refer to.
pub(crate) fn schemas(generator: &mut SchemaGenerator) {
    generator.subschema_for::<BatchList>();
    generator.subschema_for::<BatchForm>();
    generator.subschema_for::<BatchRequest>();
    generator.subschema_for::<UploadBody>();
    generator.subschema_for::<results::Rows>();
    generator.subschema_for::<CocoResults>();
    generator.subschema_for::<JobView>();
}

/// The batch with this id, current and whole.
async fn fetch(app: &App, tenant: &Tenant, id: &str) -> Result<Arc<InferenceJob>, Problem> {
    let job = app.jobs.fetch(tenant, id).await?;
    is_batch(&job)?;
    Ok(job)
}

/// Checks that there is a batch with this id, which a request without a query names.
async fn exists(app: &App, tenant: &Tenant, id: &str, uri: &Uri) -> Result<(), Problem> {
    Query::none(uri)?;
    is_batch(&*app.jobs.get(tenant, id).await?)
}

fn is_batch(job: &InferenceJob) -> Result<(), Problem> {
    if job.spec.input.is_batch() {
        return Ok(());
    }
    let detail = "the job with this id is on a single picture: it is under /v1/jobs";
    Err(Problem::new(ProblemType::NoSuchJob, detail))
}

/// Read a batch.
#[utoipa::path(
    get,
    path = BATCH,
    operation_id = "readBatch",
    tag = "batches",
    params(
        ("id" = String, Path, description = "The batch's id."),
        ("Prefer" = Option<String>, Header, example = "wait=30",
            description = "`wait=N`: answer once the batch has ended, or after N seconds; at most 60."),
    ),
    responses(
        (status = 200, description = "The batch.", body = ref("#/components/schemas/JobView")),
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
    exists(&app, &tenant, &id, &uri).await?;
    jobs::read(State(app), tenant, Id(id), uri, headers).await
}

/// Cancel a batch.
///
/// The parts that are done stay, and are copied to the output.
#[utoipa::path(
    post,
    path = BATCH_CANCEL,
    operation_id = "cancelBatch",
    tag = "batches",
    params(("id" = String, Path, description = "The batch's id.")),
    responses(
        (status = 200, description = "The batch is Cancelled.", body = ref("#/components/schemas/JobView")),
        (status = 202, description = "The batch will be cancelled.", body = ref("#/components/schemas/JobView")),
        CancelProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn cancel(
    State(app): State<AppState>,
    tenant: Tenant,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    exists(&app, &tenant, &id, &uri).await?;
    end::cancel(State(app), tenant, Id(id), uri).await
}

/// Delete a batch, and what was uploaded with it. Its output stays.
#[utoipa::path(
    delete,
    path = BATCH,
    operation_id = "deleteBatch",
    tag = "batches",
    params(("id" = String, Path, description = "The batch's id.")),
    responses(
        (status = 204, description = "The batch is deleted."),
        DeleteProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn delete(
    State(app): State<AppState>,
    tenant: Tenant,
    Id(id): Id,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    exists(&app, &tenant, &id, &uri).await?;
    end::delete(State(app), tenant, Id(id), uri).await
}

/// Follow a batch by server-sent events.
///
/// As for a job: one `status` event for each change of the batch, its counts among them, which change at most
/// every 5 seconds.
#[utoipa::path(
    get,
    path = BATCH_EVENTS,
    operation_id = "followBatch",
    tag = "batches",
    params(
        ("id" = String, Path, description = "The batch's id."),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client received."),
    ),
    responses(
        (status = 200, description = "`event: status` with the batch as `data`, till its end.",
            body = ref("#/components/schemas/JobEvent"), content_type = "text/event-stream"),
        (status = 204, description = "The batch has ended, and the client has its last event."),
        FollowProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn events(
    State(app): State<AppState>,
    tenant: Tenant,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    exists(&app, &tenant, &id, &uri).await?;
    events::stream(State(app), tenant, Id(id), uri, headers).await
}
