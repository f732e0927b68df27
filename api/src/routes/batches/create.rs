//! `POST /v1/batches`: a batch from JSON that says where its pictures are, or from an upload.

use super::description::{BatchProblems, BatchQuery};
use super::form::{self, Kind, Read};
use crate::auth::Tenant;
use crate::batch;
use crate::error::{Problem, ProblemType};
use crate::routes::BATCHES;
use crate::routes::jobs::{created, idempotency_key};
use crate::state::{App, AppState};
use crate::submit::{Origin, Payload, Submission, refuse_if_full, submit};
use crate::validate::ValidRequest;
use axum::extract::{Request, State};
use axum::response::Response;
use fovea_crds::{InferenceJob, Input};

/// Submit a batch.
///
/// As JSON, it names pictures in the bucket: those below a prefix, those that a manifest lists, or those in tar
/// archives. Otherwise the body is a manifest (JSON Lines or CSV) or an archive of pictures (ZIP or tar), with all
/// fields in the query, or a multipart form with the field `file`. What it is, is told by its first bytes; all but
/// the ZIP may be compressed by gzip.
#[utoipa::path(
    post,
    path = BATCHES,
    operation_id = "createBatch",
    tag = "batches",
    params(
        BatchQuery,
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "Requests with the same key create one batch."),
    ),
    request_body(content(
        (ref("#/components/schemas/BatchJson") = "application/json"),
        (ref("#/components/schemas/BatchForm") = "multipart/form-data"),
        (ref("#/components/schemas/UploadBody") = "application/octet-stream"),
        (ref("#/components/schemas/UploadBody") = "application/zip"),
        (ref("#/components/schemas/UploadBody") = "application/x-tar"),
        (ref("#/components/schemas/UploadBody") = "application/gzip"),
        (ref("#/components/schemas/UploadBody") = "application/x-ndjson"),
        (ref("#/components/schemas/UploadBody") = "text/csv"),
    )),
    responses(
        (status = 202, description = "The batch was created.", body = ref("#/components/schemas/JobView"), headers(
            ("Location" = String, description = "The batch's URL."),
            ("Retry-After" = u32, description = "Seconds until the first poll."),
        )),
        BatchProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    tenant: Result<Tenant, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let kind = Kind::of(&parts.headers);
    let upload = match &kind {
        Ok(Kind::Json) => app.intake.open(&parts.headers, body, form::JSON_BYTES),
        Ok(kind) => {
            let limit = kind.body_limit(app.intake.max_archive_bytes);
            app.intake.open_archive(&parts.headers, body, limit)
        }
        Err(_) => app.intake.open(&parts.headers, body, 0),
    };
    let made = async {
        // Only now: the body of a refused request is read to its end as well.
        let tenant = tenant?;
        upload.charge_to(tenant.parties);
        let key = idempotency_key(&parts.headers)?;
        refuse_if_full(&app, &tenant, key.as_deref())?;
        let read = form::read(&app, &tenant, kind?, &parts, &upload).await?;
        let Read {
            request,
            input,
            identity,
        } = read;
        let job = commit(&app, &tenant, request, (input, identity), key).await?;
        Ok((tenant, job))
    };
    match made.await {
        Ok((tenant, job)) => created(&app, &tenant, BATCHES, None, job).await,
        Err(problem) => {
            upload.discard_rest().await;
            Err(problem)
        }
    }
}

/// Creates the batch. An upload that it does not use is deleted: that of a request that failed, and that of one that
/// was sent again.
pub(super) async fn commit(
    app: &App,
    tenant: &Tenant,
    request: ValidRequest,
    (input, identity): (Input, Input),
    idempotency_key: Option<String>,
) -> Result<InferenceJob, Problem> {
    let submission = Submission {
        request,
        payload: Payload::Batch {
            input: input.clone(),
            identity,
        },
        idempotency_key,
        origin: Origin::OWN,
    };
    let made = submit(app, tenant, submission).await;
    let is_used = match &made {
        Ok(job) => job.spec.input == input,
        // The batch may exist.
        Err(problem) => problem.kind == ProblemType::OutcomeUnknown,
    };
    if !is_used {
        batch::discard(app, &tenant.namespace, &input).await;
    }
    made
}
