//! Jobs in the cluster. Unfinished ones are read from a watch cache, which may lag by milliseconds;
//! any other is read from the API server, so that every replica finds a job once it is created, and
//! from its record if it was deleted early.

mod answer;
mod cache;
mod end;
mod follow;
mod list;
mod reads;
mod records;
mod watch;

pub(crate) use cache::{Full, PoolJobs};
pub(crate) use follow::Follower;
pub(crate) use list::{Filter, Page, foreign_token};
pub(crate) use records::Records;
pub use watch::WatchScope;

use crate::auth::Tenant;
use crate::budget::Budget;
use crate::error::{Problem, ProblemType};
use crate::kubernetes::Clients;
use crate::metrics::Metrics;
use crate::shares::Shares;
use crate::validate::is_subdomain;
use answer::Unread;
use cache::{Cache, JobKey};
use fovea_cluster::{Watches, found};
use fovea_crds::{InferenceJob, Input, ResolvedPoolRef};
use kube::api::GetParams;
use kube::core::Request;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use reads::Reads;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Memory for reads of single jobs together, in bytes. It is apart from the budget of requests, so
/// that jobs can be read while that is used up.
const READS_BYTES: usize = 64 * 1024 * 1024;
/// Longest answer with one job, in bytes: more than etcd stores of an object.
const JOB_BYTES: usize = 8 * 1024 * 1024;

/// Reads and ends jobs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Jobs {
    client: Client,
    timeout: Duration,
    cache: Cache,
    reads: Arc<Reads>,
    reads_budget: Budget,
    budget: Budget,
    records: Records,
    waiters: Shares,
    lists: Shares,
    watches: Watches,
    _watch: Arc<AbortOnDropHandle<()>>,
}

impl Jobs {
    /// Starts the watch. `timeout` bounds one request, `max_waiters` the number of followers, `budget` the
    /// memory of lists.
    pub(crate) fn start(
        clients: &Clients,
        timeout: Duration,
        scope: WatchScope,
        records: Records,
        max_waiters: usize,
        metrics: &Metrics,
        budget: Budget,
    ) -> Self {
        let cache = Cache::default();
        let watches = metrics.watches().clone();
        let watch = watch::run(
            clients.watches.clone(),
            scope,
            cache.clone(),
            watches.clone(),
        );
        Self {
            client: clients.requests.clone(),
            timeout,
            cache,
            reads: Arc::new(Reads::new(timeout, metrics)),
            reads_budget: Budget::new(READS_BYTES),
            budget,
            records,
            waiters: Shares::new("waits", max_waiters, metrics),
            lists: Shares::new("lists", list::MAX_LISTS, metrics),
            watches,
            _watch: Arc::new(AbortOnDropHandle::new(tokio::spawn(watch))),
        }
    }

    /// Why the watch cannot be relied on; `None` if it works and has listed all jobs.
    pub(crate) fn complaint(&self) -> Option<String> {
        let unfilled = !self.cache.is_filled();
        unfilled
            .then(|| "the watch has not listed every job yet".to_owned())
            .or_else(|| self.watches.complaint())
    }

    /// Reads a job, without its inline picture, from the cache if possible.
    pub(crate) async fn get(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Arc<InferenceJob>, Problem> {
        if let Some(job) = self.cache.get(&JobKey::new(&tenant.namespace, name)) {
            return Ok(job);
        }
        self.fetch(tenant, name).await
    }

    /// Reads a job from the API server, current and without its inline picture, or from its record.
    pub(crate) async fn fetch(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Arc<InferenceJob>, Problem> {
        let namespace = tenant.namespace.as_str();
        // An invalid name must not become part of a request's path.
        if !is_subdomain(name) {
            return Err(Problem::no_such_job());
        }
        let read = async || {
            let answer = timeout(self.timeout, self.read(namespace, name)).await;
            let job = answer.map_err(|_| unavailable("no answer in time"))??;
            job.map(Arc::new).ok_or_else(Problem::no_such_job)
        };
        let key = JobKey::new(namespace, name);
        let shared = self.reads.share(key, tenant.parties, read);
        // Another request's read may have to end first.
        let read = timeout(2 * self.timeout, shared)
            .await
            .map_err(|_| unavailable("no answer in time"))?;
        match read {
            Err(problem) if problem.kind == ProblemType::NoSuchJob => {
                // Boxed, so that waiting readers do not reserve its memory.
                let recorded = Box::pin(self.records.find(tenant, name)).await?;
                recorded.map(Arc::new).ok_or(problem)
            }
            read => read,
        }
    }

    /// The inline picture of a job; `None` if the job is gone, as one with a record is.
    pub(crate) async fn inline_picture(
        &self,
        tenant: &Tenant,
        job: &InferenceJob,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let current = match self.fetch(tenant, &job.name_any()).await {
            Err(problem) if problem.kind == ProblemType::NoSuchJob => return Ok(None),
            read => read?,
        };
        Ok(match &current.spec.input {
            Input::Inline { data } if current.metadata.uid == job.metadata.uid => {
                Some(data.0.clone())
            }
            _ => None,
        })
    }

    /// Why the namespace takes no more jobs, by the conditions of its waiting ones; `None` if it does.
    pub(crate) fn fullness(&self, namespace: &str) -> Option<Full> {
        self.cache.fullness(namespace)
    }

    /// The unfinished jobs of a namespace that a pool has accepted, as the watch has delivered them.
    pub(crate) fn of_pool(&self, namespace: &str, pool: &ResolvedPoolRef) -> PoolJobs {
        self.cache.of_pool(namespace, pool)
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<InferenceJob>, Problem> {
        let request = requests(namespace).get(name, &GetParams::default());
        let request = request.map_err(Problem::internal)?;
        let answer = answer::read(&self.client, request, &self.reads_budget, JOB_BYTES).await;
        match answer {
            Ok((job, _memory)) => Ok(Some(job)),
            Err(Unread::Failed(error)) => found(Err(error), name).map_err(failed),
            Err(Unread::NoMemory(problem)) => Err(problem),
            Err(Unread::TooLarge) => Err(Problem::internal(format!(
                "the job {namespace}/{name} has more than {JOB_BYTES} bytes"
            ))),
        }
    }

    fn api(&self, namespace: &str) -> Api<InferenceJob> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Requests for the jobs of a namespace.
fn requests(namespace: &str) -> Request {
    Request::new(InferenceJob::url_path(&(), Some(namespace)))
}

/// The problem for an API server's error that the client cannot fix. Missing rights and objects that
/// do not decode are defects of the installation.
fn failed(error: kube::Error) -> Problem {
    match &error {
        kube::Error::SerdeError(_) => Problem::internal(error),
        kube::Error::Api(status) if status.code == 403 => Problem::internal(error),
        _ => unavailable(error),
    }
}

pub(crate) fn unavailable(why: impl std::fmt::Display) -> Problem {
    Problem::new(
        ProblemType::ClusterUnavailable,
        "the cluster could not be reached: try again",
    )
    .caused_by(why)
    .retry_after(2)
}
