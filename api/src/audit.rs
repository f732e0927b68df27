//! The audit log: a line for each job that a client submits, cancels or deletes. Its target,
//! `fovea_api::audit`, selects these lines in `RUST_LOG` and in a log collector.

use crate::auth::Tenant;

/// What a client did to a job, in the words of Kubernetes' access rules where these have one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Create,
    Cancel,
    Delete,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
        }
    }
}

/// Logs an action that the cluster has accepted.
pub(crate) fn record(action: Action, tenant: &Tenant, job: &str) {
    let Tenant {
        namespace, user, ..
    } = tenant;
    tracing::info!(user, verb = action.as_str(), namespace, job, "audit");
}
