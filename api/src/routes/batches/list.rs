//! `GET /v1/batches`: a page of batches. `GET /v1/jobs` lists them as well, among all jobs.

use crate::auth::Tenant;
use crate::error::Problem;
use crate::routes::BATCHES;
use crate::routes::jobs::JobView;
use crate::routes::jobs::description::ListProblems;
use crate::routes::jobs::list::page;
use crate::state::AppState;
use axum::Json;
use axum::extract::State;
use http::Uri;
use schemars::JsonSchema;
use serde::Serialize;

/// One page of a namespace's batches.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BatchList {
    /// At most `limit` batches; a page that is not the last can have fewer, or none.
    pub batches: Vec<JobView>,
    /// The value of `continue` for the next page; null on the last page.
    pub r#continue: Option<String>,
}

/// List batches.
#[utoipa::path(
    get,
    path = BATCHES,
    operation_id = "listBatches",
    tag = "batches",
    params(
        ("phase" = Option<String>, Query, description = "Only batches in this phase."),
        ("task" = Option<String>, Query, description = "Only batches of this task."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Batches per page; 50 by default."),
        ("continue" = Option<String>, Query, description = "The value of `continue` in the previous page."),
    ),
    responses(
        (status = 200, description = "A page of batches.", body = ref("#/components/schemas/BatchList")),
        ListProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    tenant: Tenant,
    uri: Uri,
) -> Result<Json<BatchList>, Problem> {
    let (batches, r#continue) = page(&app, &tenant, &uri, true).await?;
    Ok(Json(BatchList {
        batches,
        r#continue,
    }))
}
