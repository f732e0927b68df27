//! Who asks, and in which namespace their jobs are.

use crate::app::AppState;
use crate::error::Problem;
use axum::extract::FromRequestParts;
use http::request::Parts;

/// The user of every request while there is no authentication.
const ANONYMOUS: &str = "anonymous";

/// Who asks, and where the job will be. A handler that takes one serves nobody else.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) namespace: String,
    pub(crate) user: String,
}

impl FromRequestParts<AppState> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(_parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        Ok(Self {
            namespace: app.config.namespace.clone(),
            user: ANONYMOUS.to_owned(),
        })
    }
}
