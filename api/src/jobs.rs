//! Jobs as they are in the cluster.

use crate::error::{Problem, ProblemType};
use crate::validate::is_subdomain;
use fovea_crds::InferenceJob;
use kube::{Api, Client};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Reads jobs.
pub(crate) struct Jobs {
    client: Client,
    timeout: Duration,
}

impl Jobs {
    pub(crate) fn new(client: Client, timeout: Duration) -> Self {
        Self { client, timeout }
    }

    /// The job of this name, or the problem that there is none.
    pub(crate) async fn get(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<InferenceJob>, Problem> {
        // What is no object's name is not put into a path of the API server's.
        if !is_subdomain(name) {
            return Err(Problem::no_such_job());
        }
        let unavailable = |why: String| {
            Problem::new(
                ProblemType::ClusterUnavailable,
                "the cluster could not be reached: ask again",
            )
            .caused_by(why)
            .retry_after(2)
        };
        let jobs: Api<InferenceJob> = Api::namespaced(self.client.clone(), namespace);
        let found = timeout(self.timeout, jobs.get_opt(name))
            .await
            .map_err(|_| unavailable("no answer in time".to_owned()))?
            .map_err(|error| unavailable(error.to_string()))?;
        found.map(Arc::new).ok_or_else(Problem::no_such_job)
    }
}
