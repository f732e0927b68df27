//! `GET /v1/batches/{id}/results`: the rows of all parts that exist, as JSON Lines, CSV or COCO results.

use super::description::RowsProblems;
use super::fetch;
use crate::auth::Tenant;
use crate::batch::{Format, Lines, MAX_ROW_BYTES, Only, Renderer, RowsError, parts, split};
use crate::download::{Client, attachment, unread};
use crate::error::{Problem, ProblemType};
use crate::routes::BATCH_RESULTS;
use crate::routes::formats::{check, format};
use crate::routes::jobs::Id;
use crate::routes::query::Query;
use crate::state::AppState;
use crate::validate::{FieldError, excerpt};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use fovea_crds::{InferenceJob, Phase};
use fovea_store::Presentation;
use http::{HeaderName, HeaderValue, Uri};
use kube::ResourceExt as _;
use schemars::JsonSchema;

/// Whether the answer has the row of every picture.
const COMPLETE: HeaderName = HeaderName::from_static("fovea-complete");
/// Length from which rendered rows are sent, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Memory of rows that are rendered, beside the pieces: a row whose end is not read yet, the lines that have
/// been read, and what was rendered of them.
const RENDERED_BYTES: usize = 3 * MAX_ROW_BYTES;

/// Rows of a batch, one JSON object a line.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
pub(crate) struct Rows(String);

/// Read the rows of a batch.
///
/// One row for each picture, in the order of the input within its part, while the batch runs, too: then of the parts
/// that are done, and `Fovea-Complete` is `false`. `csv` has one line for each picture. `coco` has the detections as
/// pycocotools' `loadRes` reads them: `image_id` is the row's id, as a number if it is one, `category_id` COCO's own
/// if the label is one of COCO's 80, else from 1001 on in the order of their first appearance, `category_name` the
/// label. If the rows cannot be read to their end, the connection is closed early.
#[utoipa::path(
    get,
    path = BATCH_RESULTS,
    operation_id = "readBatchResults",
    tag = "batches",
    params(
        ("id" = String, Path, description = "The batch's id."),
        ("only" = Option<String>, Query, description = "`failed` or `succeeded`: only these rows."),
        ("format" = Option<String>, Query, description = "`jsonl` (the default), `csv`, or `coco` for object-detection."),
    ),
    responses(
        (status = 200, description = "The rows.",
            content(
                (ref("#/components/schemas/Rows") = "application/x-ndjson"),
                (ref("#/components/schemas/Rows") = "text/csv"),
                (ref("#/components/schemas/CocoResults") = "application/json"),
            ),
            headers(("Fovea-Complete" = bool, description = "Whether every picture of the batch has its row."))),
        RowsProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn read(
    State(app): State<AppState>,
    tenant: Tenant,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::of(&uri, "only, format")?;
    let only = query.get("only").map(only).transpose()?;
    let format = query.get("format").map_or(Ok(Format::Jsonl), format)?;
    let job = fetch(&app, &tenant, &id).await?;
    check(format, job.spec.task)?;
    if format == Format::Coco && only == Some(Only::Failed) {
        let why = "failed pictures have no detections: leave it out with format=coco".to_owned();
        return Err(FieldError::Invalid { name: "only", why }.into());
    }
    let renderer = Renderer::new(format, job.spec.task, only);
    let rendered_bytes = if renderer.is_transparent() {
        0
    } else {
        RENDERED_BYTES
    };
    let admitted = app.downloads.admit(tenant.parties, rendered_bytes).await?;
    let uid = job.uid().unwrap_or_default();
    let parts = parts(&app.store, &uid).await.map_err(unread)?;
    if parts.is_empty() && were_rows(&job) {
        let detail = "the rows are not kept any more: read the files at the batch's output";
        return Err(Problem::new(ProblemType::NoResult, detail));
    }
    let lines = Lines::open(&app.store, &uid, parts).await;
    let lines = lines.map_err(|error| match error {
        RowsError::Store(error) => unread(error),
        error => Problem::internal(error),
    })?;
    let body = app.downloads.stream(admitted, |client| async move {
        if let Err(error) = pump(lines, renderer, &client).await {
            tracing::warn!(%error, "the rows of a batch end early");
            client.send(Err(error)).await;
        }
    });
    let (content_type, extension) = format.file();
    let presentation = Presentation {
        content_type,
        disposition: &format!("attachment; filename=\"{id}.{extension}\""),
    };
    let mut response = attachment(presentation, Body::from_stream(body))?;
    let is_complete = job.phase() == Phase::Succeeded;
    let value = HeaderValue::from_static(if is_complete { "true" } else { "false" });
    response.headers_mut().insert(COMPLETE, value);
    Ok(response)
}

/// Sends all rows.
async fn pump(
    mut lines: Lines,
    mut renderer: Renderer,
    client: &Client<RowsError>,
) -> Result<(), RowsError> {
    if renderer.is_transparent() {
        while client.ready().await
            && let Some(piece) = lines.piece().await?
        {
            if !client.send(Ok(piece)).await {
                break;
            }
        }
        return Ok(());
    }
    let mut out = renderer.begin();
    while client.ready().await
        && let Some(whole) = lines.lines().await?
    {
        for line in split(&whole) {
            renderer.line(line, &mut out)?;
            if out.len() >= PIECE_BYTES && !client.send(Ok(std::mem::take(&mut out).into())).await {
                return Ok(());
            }
        }
    }
    out.push_str(renderer.end());
    client.send(Ok(Bytes::from(out))).await;
    Ok(())
}

/// Whether the batch had rows, which the sweeper has deleted with its plan.
fn were_rows(job: &InferenceJob) -> bool {
    let counts = job.status.as_ref().and_then(|status| status.counts);
    job.is_finished() && counts.is_some_and(|counts| counts.done() > 0)
}

fn only(name: &str) -> Result<Only, FieldError> {
    match name {
        "failed" => Ok(Only::Failed),
        "succeeded" => Ok(Only::Succeeded),
        _ => Err(FieldError::Invalid {
            name: "only",
            why: format!("{:?} is neither failed nor succeeded", excerpt(name)),
        }),
    }
}
