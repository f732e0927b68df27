//! `POST /v1/batches/{id}/retry`: a new batch of the pictures that failed.

use super::create::commit;
use super::description::RetryProblems;
use super::fetch;
use crate::archive::Selection;
use crate::auth::BATCH_RETRY;
use crate::auth::Tenant;
use crate::batch::{Failure, Failures, Parameters, RowsError, StoredUpload, discard};
use crate::download::unread;
use crate::error::{Problem, ProblemType};
use crate::routes::BATCHES;
use crate::routes::jobs::{Id, created, idempotency_key};
use crate::routes::query::Query;
use crate::state::{App, AppState};
use crate::submit::refuse_if_full;
use crate::validate::{BatchSettings, UPLOADED_PICTURES, ValidRequest, uploaded};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use fovea_crds::{InferenceJob, Input};
use http::{HeaderMap, Uri};
use serde_json::json;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;

/// Pieces of the new manifest under way.
const PIECES: usize = 4;
/// Length from which a piece is passed on, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Retry the failed pictures of a batch.
///
/// Creates a batch of the pictures whose rows are failures, with the same task, model, pool, parameters, reuse and
/// output prefix. Pictures keep the ids and the parameters that a manifest gave them. Of an uploaded ZIP or tar the pictures
/// that failed are copied, with what belongs to them. A batch of archives that were in the bucket before cannot be
/// retried.
#[utoipa::path(
    post,
    path = BATCH_RETRY,
    operation_id = "retryBatch",
    tag = "batches",
    params(
        ("id" = String, Path, description = "The id of the batch whose failed pictures are done again."),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "Requests with the same key create one batch."),
    ),
    responses(
        (status = 202, description = "The new batch was created.", body = ref("#/components/schemas/JobView"), headers(
            ("Location" = String, description = "The new batch's URL."),
            ("Retry-After" = u32, description = "Seconds until the first poll."),
        )),
        RetryProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn retry(
    State(app): State<AppState>,
    tenant: Tenant,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let key = idempotency_key(&headers)?;
    let job = fetch(&app, &tenant, &id).await?;
    if !job.is_finished() {
        let detail = "the batch still runs: wait for its end, or cancel it";
        return Err(Problem::new(ProblemType::NotFinished, detail));
    }
    refuse_if_full(&app, &tenant, key.as_deref())?;
    let _permit = app.intake.admit_archive(tenant.parties).await?;
    let storing = async {
        match &job.spec.input {
            Input::Archives { prefix } => {
                Box::pin(pictures(&app, &tenant.namespace, &job, prefix)).await
            }
            _ => Box::pin(manifest(&app, &tenant.namespace, &job)).await,
        }
    };
    let stored = timeout(app.intake.archive_whole, storing).await;
    let StoredUpload { input, identity } = stored.map_err(|_| too_slow())??;
    let job = commit(&app, &tenant, request_of(&job), (input, identity), key).await?;
    created(&app, &tenant, BATCHES, None, job).await
}

/// The request that would create this batch again, but for its input.
fn request_of(job: &InferenceJob) -> ValidRequest {
    let spec = &job.spec;
    let output = spec.output.clone();
    ValidRequest {
        task: spec.task,
        model: spec.model.clone(),
        pool: spec.pool_ref.clone(),
        priority: spec.priority,
        callback_url: spec.callback.as_ref().map(|callback| callback.url.clone()),
        parameters: spec.parameters.clone(),
        reuse: spec.reuse,
        batch: output.map(|output| BatchSettings {
            output,
            parallelism: spec.parallelism.filter(|parallelism| *parallelism > 0),
            max_failed_permille: spec.max_failed_permille,
        }),
    }
}

/// Stores a manifest of the batch's failed pictures.
async fn manifest(app: &App, namespace: &str, job: &InferenceJob) -> Result<StoredUpload, Problem> {
    let failures = Failures::of(app, job).await?;
    let (pieces, written) = mpsc::channel(PIECES);
    let has_parameters = matches!(job.spec.input, Input::Manifest { .. });
    let reading = write_manifest(app, failures, has_parameters, pieces);
    let (selected, stored) = tokio::join!(reading, StoredUpload::manifest(app, namespace, written));
    let (stored, bytes) = stored?;
    if let Err(error) = selected {
        discard(app, namespace, &stored.input).await;
        return Err(unread_rows(error));
    }
    if bytes == 0 {
        discard(app, namespace, &stored.input).await;
        return Err(none_failed());
    }
    Ok(stored)
}

/// Copies the failed pictures of an uploaded archive.
async fn pictures(
    app: &App,
    namespace: &str,
    job: &InferenceJob,
    prefix: &str,
) -> Result<StoredUpload, Problem> {
    let Some(archive) = uploaded(namespace, &job.spec.input) else {
        let detail = "the failed pictures are inside archives of the bucket, which can be too large to be copied by a request: write these pictures into a new archive; their rows (`results?only=failed`) say which they are";
        return Err(Problem::new(ProblemType::CannotRetry, detail));
    };
    let mut failures = Failures::of(app, job).await?;
    let uid = failures.uid.clone();
    let members = format!("{prefix}/{UPLOADED_PICTURES}/");
    let mut selection = Selection::default();
    while let Some(failure) = failures.next().await.map_err(unread_rows)? {
        if let Some(name) = failure.row.key.strip_prefix(&members) {
            selection.add(name, &app.budget).await?;
        }
    }
    if selection.is_empty() {
        return Err(none_failed());
    }
    StoredUpload::selected(app, namespace, (&archive, selection), &uid).await
}

/// Objects that were written by then are left to the operator's sweeper.
fn too_slow() -> Problem {
    let detail =
        "the failed pictures were not collected in the time that the upload of a batch has";
    Problem::new(ProblemType::StoreUnavailable, detail).retry_after(10)
}

fn none_failed() -> Problem {
    let detail =
        "no picture of the batch has failed whose key is known and whose row is still kept";
    Problem::new(ProblemType::CannotRetry, detail)
}

fn unread_rows(error: RowsError) -> Problem {
    match error {
        RowsError::Store(error) => unread(error),
        error => Problem::internal(error),
    }
}

/// Writes the manifest's lines.
async fn write_manifest(
    app: &App,
    mut failures: Failures,
    has_parameters: bool,
    pieces: Sender<Bytes>,
) -> Result<(), RowsError> {
    let mut out = String::new();
    let mut parameters = Parameters::default();
    while let Some(Failure { row, part, index }) = failures.next().await? {
        // A line of a manifest that could not be read has no key.
        if row.key.is_empty() {
            continue;
        }
        let mut line = json!({"key": row.key, "id": row.id});
        if has_parameters {
            let place = (part.shard, index);
            let own = parameters.of(&app.store, &failures.uid, place).await?;
            if let Some(own) = own {
                line["parameters"] = own;
            }
        }
        out.push_str(&line.to_string());
        out.push('\n');
        if out.len() >= PIECE_BYTES && pieces.send(std::mem::take(&mut out).into()).await.is_err() {
            return Ok(());
        }
    }
    if !out.is_empty() {
        // The receiver's own error says why it is gone.
        let _ = pieces.send(out.into()).await;
    }
    Ok(())
}
