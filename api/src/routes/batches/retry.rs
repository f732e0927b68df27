//! `POST /v1/batches/{id}/retry`: a new batch of the pictures that failed.

use super::create::commit;
use super::description::RetryProblems;
use super::fetch;
use crate::auth::BATCH_RETRY;
use crate::auth::Tenant;
use crate::batch::{
    Format, Lines, Only, Renderer, Row, RowsError, StoredUpload, discard, parts, split,
};
use crate::download::unread;
use crate::error::{Problem, ProblemType};
use crate::routes::BATCHES;
use crate::routes::jobs::{Id, created, idempotency_key};
use crate::routes::query::Query;
use crate::state::{App, AppState};
use crate::submit::refuse_if_full;
use crate::validate::{BatchSettings, ValidRequest};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use fovea_crds::{InferenceJob, Input};
use http::{HeaderMap, Uri};
use kube::ResourceExt as _;
use serde_json::json;
use tokio::sync::mpsc::{self, Sender};

/// Pieces of the new manifest under way.
const PIECES: usize = 4;
/// Length from which a piece is passed on, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Retry the failed pictures of a batch.
///
/// Creates a batch of the pictures whose rows are failures, with the same task, model, pool, parameters and output
/// prefix. Parameters that a manifest gave single pictures are not repeated. A batch of archives cannot be retried.
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
    if let Input::Archives { .. } = &job.spec.input {
        let detail = "the failed pictures are inside archives, where a manifest cannot name them: write these pictures into a new archive; their rows (`results?only=failed`) say which they are";
        return Err(Problem::new(ProblemType::CannotRetry, detail));
    }
    refuse_if_full(&app, &tenant, key.as_deref())?;
    let _permit = app.intake.admit_archive(tenant.parties)?;
    let stored = Box::pin(manifest(&app, &tenant.namespace, &job)).await?;
    let StoredUpload { input, identity } = stored;
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
        batch: output.map(|output| BatchSettings {
            output,
            parallelism: spec.parallelism.filter(|parallelism| *parallelism > 0),
            max_failed_permille: spec.max_failed_permille,
        }),
    }
}

/// Stores a manifest of the batch's failed pictures.
async fn manifest(app: &App, namespace: &str, job: &InferenceJob) -> Result<StoredUpload, Problem> {
    let uid = job.uid().unwrap_or_default();
    let read = |error| match error {
        RowsError::Store(error) => unread(error),
        error => Problem::internal(error),
    };
    let parts = parts(&app.store, &uid).await.map_err(unread)?;
    let lines = Lines::open(&app.store, &uid, parts).await.map_err(read)?;
    let task = job.spec.task;
    let failed = Renderer::new(Format::Jsonl, task, Some(Only::Failed));
    let (pieces, written) = mpsc::channel(PIECES);
    let reading = select(lines, failed, pieces);
    let (selected, stored) = tokio::join!(reading, StoredUpload::manifest(app, namespace, written));
    let (stored, bytes) = stored?;
    if let Err(error) = selected {
        discard(app, namespace, &stored.input).await;
        return Err(read(error));
    }
    if bytes == 0 {
        discard(app, namespace, &stored.input).await;
        let detail =
            "no picture of the batch has failed whose key is known and whose row is still kept";
        return Err(Problem::new(ProblemType::CannotRetry, detail));
    }
    Ok(stored)
}

/// Writes the manifest's lines.
async fn select(
    mut lines: Lines,
    mut failed: Renderer,
    pieces: Sender<Bytes>,
) -> Result<(), RowsError> {
    let (mut rows, mut out) = (String::new(), String::new());
    while let Some(whole) = lines.lines().await? {
        for line in split(&whole) {
            failed.line(line, &mut rows)?;
        }
        for row in rows.lines() {
            let row: Row =
                serde_json::from_str(row).map_err(|error| RowsError::Row(error.to_string()))?;
            // A line of a manifest that could not be read has no key.
            if row.key.is_empty() {
                continue;
            }
            out.push_str(&json!({"key": row.key, "id": row.id}).to_string());
            out.push('\n');
        }
        rows.clear();
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
