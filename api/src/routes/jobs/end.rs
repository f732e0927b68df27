//! `POST /v1/jobs/{id}/cancel` and `DELETE /v1/jobs/{id}`.

use super::description::{CancelProblems, DeleteProblems};
use super::{Id, ok_or_accepted, shown};
use crate::audit::{self, Action};
use crate::auth::Tenant;
use crate::error::Problem;
use crate::results;
use crate::routes::query::Query;
use crate::routes::{JOB, JOB_CANCEL};
use crate::state::{App, AppState};
use crate::validate::uploaded;
use axum::extract::State;
use axum::response::Response;
use fovea_cluster::NamespaceError;
use fovea_crds::{InferenceJob, Input};
use fovea_store::{InvalidDigest, InvalidKey, ObjectKey, Sha256, StoreError};
use http::{StatusCode, Uri};
use kube::ResourceExt as _;
use tokio::time::timeout;

/// Cancel a job.
#[utoipa::path(
    post,
    path = JOB_CANCEL,
    operation_id = "cancelJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job is Cancelled.", body = ref("#/components/schemas/JobView")),
        (status = 202, description = "The job will be cancelled.", body = ref("#/components/schemas/JobView")),
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
    Query::none(&uri)?;
    let job = app.jobs.cancel(&tenant, &id).await?;
    audit::record(Action::Cancel, &tenant, &id);
    Ok(shown(ok_or_accepted(&job), &job))
}

/// Delete a job, and the objects in the bucket that only it uses.
#[utoipa::path(
    delete,
    path = JOB,
    operation_id = "deleteJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 204, description = "The job is deleted."),
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
    Query::none(&uri)?;
    let job = app.jobs.delete(&tenant, &id, &app.writes).await?;
    audit::record(Action::Delete, &tenant, &id);
    // The job is deleted in any case; the operator's sweeper deletes objects that remain.
    let patience = app.config.store.operation_timeout();
    match timeout(patience, clean(&app, &tenant, &job)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(job = id, %error, "objects left to the sweeper");
        }
        Err(_) => tracing::warn!(job = id, "objects left to the sweeper: no time left"),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Why an object was not deleted.
#[derive(Debug, thiserror::Error)]
enum CleanError {
    #[error(transparent)]
    Key(#[from] InvalidKey),
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error("{0}")]
    NoTurn(String),
    #[error("the job's record: {0}")]
    Record(String),
    #[error("the other jobs could not be listed: {0}")]
    List(String),
}

async fn clean(app: &App, tenant: &Tenant, job: &InferenceJob) -> Result<(), CleanError> {
    let namespace = tenant.namespace.as_str();
    let turn = app.store_turn(tenant.parties).await;
    let _turn = turn.map_err(|problem| CleanError::NoTurn(problem.detail))?;
    // Written right before the job was to be deleted early, which the client has forestalled.
    let deleted = app.jobs.records().delete(namespace, &job.name_any()).await;
    deleted.map_err(|problem| CleanError::Record(cause_of(problem)))?;
    app.store.delete(&results::key(job)?).await?;
    // Only of the API's batches: others may name its uploads, but not own them.
    if job.is_made_by_api()
        && let Some(uploaded) = uploaded(namespace, &job.spec.input)
    {
        app.store.delete(&uploaded).await?;
    }
    let Input::Upload { sha256 } = &job.spec.input else {
        return Ok(());
    };
    let namespace_uid = app.namespaces.uid(namespace).await?;
    let digest: Sha256 = sha256.parse()?;
    let key = ObjectKey::upload(namespace, &namespace_uid, &digest)?;
    if !is_old(app, &key).await? {
        return Ok(());
    }
    let referred = app.jobs.refer_to(namespace, &digest).await;
    let unlisted = |problem: Problem| CleanError::List(cause_of(problem));
    // Again after the jobs: a picture that is old now does not belong to a request whose job is not
    // created yet. A request that puts it again right now has the same race with the sweeper.
    if !referred.map_err(unlisted)? && is_old(app, &key).await? {
        app.store.delete(&key).await?;
    }
    Ok(())
}

/// What the log says of a problem: its detail is for clients.
fn cause_of(problem: Problem) -> String {
    problem.cause().map(str::to_owned).unwrap_or(problem.detail)
}

/// Whether the picture exists and may be deleted by its age.
async fn is_old(app: &App, key: &ObjectKey) -> Result<bool, StoreError> {
    let modified = app.store.modified(key).await?;
    let age = modified.map(|modified| app.store.time().duration_since(modified));
    Ok(age.is_some_and(|age| age.unwrap_or_default() >= app.config.reads.picture_grace()))
}
