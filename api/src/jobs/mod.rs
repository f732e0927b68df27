//! Jobs in the cluster. Unfinished ones are read from a watch cache, which may lag by milliseconds;
//! any other is read from the API server, so that every replica finds a job once it is created, and
//! from its record if it was deleted early.

mod cache;
mod end;
mod follow;
mod list;
mod reads;
mod records;
mod watch;

pub(crate) use follow::Follower;
pub(crate) use list::{Filter, Page, foreign_token};
pub(crate) use records::Records;
pub use watch::WatchScope;

use crate::auth::Tenant;
use crate::error::{Problem, ProblemType};
use crate::kubernetes::Clients;
use crate::metrics::Metrics;
use crate::shares::Shares;
use crate::validate::is_subdomain;
use cache::{Cache, JobKey};
use fovea_cluster::{Watches, found};
use fovea_crds::InferenceJob;
use kube::{Api, Client};
use reads::Reads;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Reads and ends jobs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Jobs {
    client: Client,
    timeout: Duration,
    cache: Cache,
    reads: Arc<Reads>,
    records: Records,
    waiters: Shares,
    lists: Shares,
    watches: Watches,
    _watch: Arc<AbortOnDropHandle<()>>,
}

impl Jobs {
    /// Starts the watch. `timeout` bounds one request, `max_waiters` the number of followers.
    pub(crate) fn start(
        clients: &Clients,
        timeout: Duration,
        scope: WatchScope,
        records: Records,
        max_waiters: usize,
        metrics: &Metrics,
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

    /// Reads a job from the API server, whole and current, or from its record.
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
            let answer = timeout(self.timeout, self.api(namespace).get(name)).await;
            let answer = answer.map_err(|_| unavailable("no answer in time"))?;
            let job = found(answer, name)
                .map_err(failed)?
                .ok_or_else(Problem::no_such_job)?;
            Ok(Arc::new(job))
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

    /// Whether the namespace has too many finished jobs to start another one, by the conditions of its
    /// waiting jobs.
    pub(crate) fn namespace_is_full(&self, namespace: &str) -> bool {
        self.cache.is_full(namespace)
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    fn api(&self, namespace: &str) -> Api<InferenceJob> {
        Api::namespaced(self.client.clone(), namespace)
    }
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
