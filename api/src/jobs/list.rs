//! Pages of jobs, from the API server.

use super::{Jobs, unavailable};
use crate::auth::Tenant;
use crate::error::{Problem, ProblemType};
use fovea_crds::annotations;
use fovea_crds::{InferenceJob, Phase, Task, WatchedJob};
use fovea_store::Sha256;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

/// Concurrent lists: a page of the largest inline pictures takes tens of megabytes.
pub(super) const MAX_LISTS: usize = 8;
/// The field by which the API server finds the jobs of an uploaded picture.
const PICTURE_FIELD: &str = "spec.input.upload.sha256";
/// The API server's pages read for one of ours when a filter by task skips jobs.
const MAX_PAGES: usize = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<Task>,
    /// Only batches.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) batches: bool,
}

/// Jobs, and the API server's token for the next page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) jobs: Vec<InferenceJob>,
    pub(crate) next: Option<String>,
}

impl Filter {
    /// The phase as a field selector. A job without a status is pending, too.
    fn field_selector(self) -> Option<&'static str> {
        Some(match self.phase? {
            Phase::Pending => {
                "status.phase!=Running,status.phase!=Succeeded,status.phase!=Failed,status.phase!=Cancelled"
            }
            Phase::Running => "status.phase=Running",
            Phase::Succeeded => "status.phase=Succeeded",
            Phase::Failed => "status.phase=Failed",
            Phase::Cancelled => "status.phase=Cancelled",
        })
    }

    /// The part of the filter that no selector expresses; it also hides tombstones.
    fn matches(self, job: &InferenceJob) -> bool {
        self.task.is_none_or(|task| job.spec.task == task)
            && (!self.batches || job.spec.input.is_batch())
            && !job.annotations().contains_key(annotations::TOMBSTONE)
    }
}

impl Jobs {
    /// At most `limit` jobs of the namespace, by name, from the token `after` on. A page that is not
    /// the last can have fewer, or none.
    pub(crate) async fn list(
        &self,
        tenant: &Tenant,
        filter: Filter,
        limit: u32,
        after: Option<String>,
    ) -> Result<Page, Problem> {
        let permit = self.lists.acquire(tenant.parties, self.timeout).await;
        let _permit = permit
            .map_err(|refused| refused.problem(ProblemType::ClusterUnavailable, "lists", 2))?;
        let mut jobs = Vec::new();
        let mut next = after;
        for _ in 0..MAX_PAGES {
            let room = limit.saturating_sub(u32::try_from(jobs.len()).unwrap_or(limit));
            let params = ListParams {
                field_selector: filter.field_selector().map(str::to_owned),
                limit: Some(room),
                continue_token: next.take(),
                ..ListParams::default()
            };
            let (found, more) = self.page(&tenant.namespace, &params).await?;
            let readable = found.into_iter().filter_map(|WatchedJob(job)| job.ok());
            jobs.extend(readable.filter(|job| filter.matches(job)));
            next = more;
            if next.is_none() || jobs.len() >= limit as usize {
                break;
            }
        }
        Ok(Page { jobs, next })
    }

    /// Whether a job of the namespace refers to the uploaded picture of this digest. The API server selects
    /// the jobs and answers with one's metadata at most, so this needs no place of a list.
    pub(crate) async fn refer_to(&self, namespace: &str, digest: &Sha256) -> Result<bool, Problem> {
        let params = ListParams::default()
            .fields(&format!("{PICTURE_FIELD}={digest}"))
            .limit(1);
        let api: Api<InferenceJob> = Api::namespaced(self.client.clone(), namespace);
        let found = timeout(self.timeout, api.list_metadata(&params)).await;
        let found = found
            .map_err(|_| unavailable("no answer in time"))?
            .map_err(super::failed)?;
        // An API server may stop before it has found the first one.
        let is_whole = found
            .metadata
            .continue_
            .is_none_or(|token| token.is_empty());
        Ok(!found.items.is_empty() || !is_whole)
    }

    async fn page(
        &self,
        namespace: &str,
        params: &ListParams,
    ) -> Result<(Vec<WatchedJob>, Option<String>), Problem> {
        let api: Api<WatchedJob> = Api::namespaced(self.client.clone(), namespace);
        let list = timeout(self.timeout, api.list(params))
            .await
            .map_err(|_| unavailable("no answer in time"))?
            .map_err(|error| match &error {
                kube::Error::Api(status) if status.code == 410 => Problem::new(
                    ProblemType::ContinueExpired,
                    "the list that `continue` goes on with is too old: start again without it",
                ),
                kube::Error::Api(status)
                    if status.code == 400 && params.continue_token.is_some() =>
                {
                    foreign_token()
                }
                _ => super::failed(error),
            })?;
        let more = list.metadata.continue_.filter(|token| !token.is_empty());
        Ok((list.items, more))
    }
}

/// `continue` is not a token that this service issued for this list.
pub(crate) fn foreign_token() -> Problem {
    Problem::new(
        ProblemType::InvalidContinue,
        "`continue` is not what a list of these jobs has answered: start again without it",
    )
}
