//! Who asks, and in which namespace their jobs are.

use crate::app::AppState;
use crate::error::Problem;
use axum::extract::FromRequestParts;
use http::request::Parts;

/// Who asks, and where the job will be. A handler that takes one serves nobody else: the right to
/// what its method and route do has been reviewed.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) namespace: String,
    pub(crate) user: String,
}

impl FromRequestParts<AppState> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let tenant = app.auth.admit(parts).await?;
        let span = tracing::Span::current();
        span.record("namespace", &tenant.namespace);
        span.record("user", &tenant.user);
        Ok(tenant)
    }
}
