//! Pages of jobs, from the API server.

use super::answer::{self, Unread};
use super::{Jobs, requests, unavailable};
use crate::auth::Tenant;
use crate::budget::Reservation;
use crate::error::{Problem, ProblemType};
use fovea_crds::annotations;
use fovea_crds::{InferenceJob, Phase, Task, WatchedJob};
use fovea_store::Sha256;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

/// Concurrent lists: beside others a tenant has one, which can keep a core of the API server busy.
pub(super) const MAX_LISTS: usize = 4;
/// The field by which the API server finds the jobs of an uploaded picture.
const PICTURE_FIELD: &str = "spec.input.upload.sha256";
/// The API server's pages read for one of ours when a filter by task skips jobs, or jobs are large.
const MAX_PAGES: usize = 10;
/// Longest page, in bytes: more than one job can have. A longer one is requested again with a quarter of its jobs.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Memory of a listed job in bytes, without its inline picture and its annotations.
const LISTED_BYTES: usize = 16 * 1024;

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

/// Jobs as a cache keeps them, and the API server's token for the next page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) jobs: Vec<InferenceJob>,
    pub(crate) next: Option<String>,
    /// The jobs' memory.
    pub(crate) reserved: Option<Reservation>,
}

/// A page of the API server, and its memory.
struct Found {
    jobs: Vec<WatchedJob>,
    next: Option<String>,
    reserved: Reservation,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMeta,
    items: Vec<WatchedJob>,
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
        let mut jobs: Vec<InferenceJob> = Vec::new();
        let mut next = after;
        let mut reserved: Option<Reservation> = None;
        for _ in 0..MAX_PAGES {
            let room = limit.saturating_sub(u32::try_from(jobs.len()).unwrap_or(limit));
            let params = ListParams {
                field_selector: filter.field_selector().map(str::to_owned),
                limit: Some(room),
                continue_token: next.take(),
                ..ListParams::default()
            };
            let mut found = self.page(&tenant.namespace, params).await?;
            let readable = found
                .jobs
                .into_iter()
                .filter_map(|WatchedJob(job)| job.ok());
            let before = jobs.len();
            let matching = readable.filter(|job| filter.matches(job));
            jobs.extend(matching.map(InferenceJob::trimmed));
            found.reserved.shrink((jobs.len() - before) * LISTED_BYTES);
            match &mut reserved {
                Some(reserved) => reserved.merge(found.reserved),
                none => *none = Some(found.reserved),
            }
            next = found.next;
            if next.is_none() || jobs.len() >= limit as usize {
                break;
            }
        }
        Ok(Page {
            jobs,
            next,
            reserved,
        })
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

    /// A page of at most as many jobs as requested, fewer if they are large.
    async fn page(&self, namespace: &str, mut params: ListParams) -> Result<Found, Problem> {
        loop {
            let request = requests(namespace).list(&params);
            let mut request = request.map_err(Problem::internal)?;
            request.extensions_mut().insert("list");
            let answer = answer::read(&self.client, request, &self.budget, PAGE_BYTES);
            let answer = timeout(self.timeout, answer).await;
            let answer = answer.map_err(|_| unavailable("no answer in time"))?;
            let (List { metadata, items }, reserved) = match answer {
                Ok(read) => read,
                Err(Unread::TooLarge) if params.limit.is_some_and(|limit| limit > 1) => {
                    params.limit = params.limit.map(|limit| (limit / 4).max(1));
                    continue;
                }
                Err(unread) => return Err(problem(unread, params.continue_token.is_some())),
            };
            return Ok(Found {
                jobs: items,
                next: metadata.continue_.filter(|token| !token.is_empty()),
                reserved,
            });
        }
    }
}

/// Why a page was not read; `continues` if the request had a token.
fn problem(unread: Unread, continues: bool) -> Problem {
    let error = match unread {
        Unread::NoMemory(problem) => return problem,
        Unread::TooLarge => {
            return Problem::internal(format!("a job has more than {PAGE_BYTES} bytes"));
        }
        Unread::Failed(error) => error,
    };
    match &error {
        kube::Error::Api(status) if status.code == 410 => Problem::new(
            ProblemType::ContinueExpired,
            "the list that `continue` goes on with is too old: start again without it",
        ),
        kube::Error::Api(status) if status.code == 400 && continues => foreign_token(),
        _ => super::failed(error),
    }
}

/// `continue` is not a token that this service issued for this list.
pub(crate) fn foreign_token() -> Problem {
    Problem::new(
        ProblemType::InvalidContinue,
        "`continue` is not what a list of these jobs has answered: start again without it",
    )
}
