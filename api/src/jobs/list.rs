//! Pages of jobs, from the API server.

use super::{Jobs, unavailable};
use crate::error::{Problem, ProblemType};
use fovea_cluster::read_page;
use fovea_crds::annotations;
use fovea_crds::{InferenceJob, Input, Phase, Task, WatchedJob};
use kube::api::ListParams;
use kube::{Resource as _, ResourceExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

/// Concurrent lists.
pub(super) const MAX_LISTS: usize = 8;
/// The API server's pages read for one of ours when a filter by task skips jobs.
const MAX_PAGES: usize = 10;
/// Pages searched for jobs that refer to a picture, and jobs per page.
const SEARCHED_PAGES: usize = 20;
const SEARCHED_PAGE: u32 = 500;

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
        namespace: &str,
        filter: Filter,
        limit: u32,
        after: Option<String>,
    ) -> Result<Page, Problem> {
        let _permit = self.list_permit().await?;
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
            let (found, more) = self.page(namespace, &params).await?;
            let readable = found.into_iter().filter_map(|WatchedJob(job)| job.ok());
            jobs.extend(readable.filter(|job| filter.matches(job)));
            next = more;
            if next.is_none() || jobs.len() >= limit as usize {
                break;
            }
        }
        Ok(Page { jobs, next })
    }

    /// Whether a job of the namespace refers to the uploaded picture of this digest; also true if a
    /// job does not decode or there are too many to search.
    pub(crate) async fn refer_to(&self, namespace: &str, digest: &str) -> Result<bool, Problem> {
        let _permit = self.list_permit().await?;
        let mut params = ListParams::default().limit(SEARCHED_PAGE);
        for _ in 0..SEARCHED_PAGES {
            let (found, more) = self.page(namespace, &params).await?;
            let refers = |WatchedJob(job): &WatchedJob| {
                job.as_ref().map_or(true, |job| match &job.spec.input {
                    Input::Upload { sha256 } => sha256 == digest,
                    _ => false,
                })
            };
            if found.iter().any(refers) {
                return Ok(true);
            }
            if more.is_none() {
                return Ok(false);
            }
            params.continue_token = more;
        }
        Ok(true)
    }

    async fn page(
        &self,
        namespace: &str,
        params: &ListParams,
    ) -> Result<(Vec<WatchedJob>, Option<String>), Problem> {
        let url = WatchedJob::url_path(&(), Some(namespace));
        let list = timeout(self.timeout, read_page(&self.client, &url, params))
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
        let more = list.next();
        Ok((list.items, more))
    }

    async fn list_permit(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match timeout(self.timeout, self.lists.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(unavailable("too many lists at once")),
        }
    }
}

/// `continue` is not a token that this service issued for this list.
pub(crate) fn foreign_token() -> Problem {
    Problem::new(
        ProblemType::InvalidContinue,
        "`continue` is not what a list of these jobs has answered: start again without it",
    )
}
