//! Jobs as they are in the cluster. Unfinished ones are read from a watch cache, which may be some
//! milliseconds behind; what it does not know is asked of the API server, so that a job is found
//! by every replica as soon as it is made.

mod cache;
mod end;
mod follow;
mod list;
mod reads;
mod watch;

pub(crate) use follow::Follower;
pub(crate) use list::{Filter, Page, foreign_token};
pub use watch::WatchScope;

use crate::error::{Problem, ProblemType};
use crate::kubernetes::Clients;
use crate::validate::is_subdomain;
use cache::{Cache, JobKey};
use fovea_crds::InferenceJob;
use kube::{Api, Client};
use reads::Reads;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Reads and ends jobs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Jobs {
    client: Client,
    timeout: Duration,
    cache: Cache,
    reads: Arc<Reads>,
    /// For those who wait for a job.
    places: Arc<Semaphore>,
    /// For those who list.
    lists: Arc<Semaphore>,
    _watch: Arc<AbortOnDropHandle<()>>,
}

impl Jobs {
    /// Begins to watch. `timeout` bounds one request; at most `max_waiters` follow a job at a time.
    pub(crate) fn start(
        clients: &Clients,
        timeout: Duration,
        scope: WatchScope,
        max_waiters: usize,
    ) -> Self {
        let cache = Cache::default();
        let watch = watch::run(clients.watches.clone(), scope, cache.clone());
        Self {
            client: clients.requests.clone(),
            timeout,
            cache,
            reads: Arc::default(),
            places: Arc::new(Semaphore::new(max_waiters.min(Semaphore::MAX_PERMITS))),
            lists: list::lists(),
            _watch: Arc::new(AbortOnDropHandle::new(tokio::spawn(watch))),
        }
    }

    /// Whether the watch has told of every job once.
    pub(crate) fn is_synced(&self) -> bool {
        self.cache.is_filled()
    }

    /// The job of this name, without its inline picture, or the problem that there is none.
    pub(crate) async fn get(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<InferenceJob>, Problem> {
        if let Some(job) = self.cache.get(&JobKey::new(namespace, name)) {
            return Ok(job);
        }
        self.fetch(namespace, name).await
    }

    /// The same from the API server, whole and as of now.
    pub(crate) async fn fetch(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<InferenceJob>, Problem> {
        // What is no object's name is not put into a path of the API server's.
        if !is_subdomain(name) {
            return Err(Problem::no_such_job());
        }
        let read = async || {
            let found = self.asked(self.api(namespace).get_opt(name)).await?;
            found.map(Arc::new).ok_or_else(Problem::no_such_job)
        };
        let shared = self.reads.share(JobKey::new(namespace, name), read);
        // There can be another's read before this one's.
        timeout(2 * self.timeout, shared)
            .await
            .map_err(|_| unavailable("no answer in time"))?
    }

    fn api(&self, namespace: &str) -> Api<InferenceJob> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A request's outcome, as a client is told of it where it is none that it can mend.
    async fn asked<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, Problem> {
        timeout(self.timeout, request)
            .await
            .map_err(|_| unavailable("no answer in time"))?
            .map_err(failed)
    }
}

/// The API server's error, where it is none that a client can mend: missing rights and objects
/// that cannot be read are the installation's defects.
fn failed(error: kube::Error) -> Problem {
    match &error {
        kube::Error::SerdeError(_) => Problem::internal(error),
        kube::Error::Api(status) if status.code == 403 => Problem::internal(error),
        _ => unavailable(error),
    }
}

/// The API server does not answer as it should.
fn unavailable(why: impl std::fmt::Display) -> Problem {
    Problem::new(
        ProblemType::ClusterUnavailable,
        "the cluster could not be reached: try again",
    )
    .caused_by(why)
    .retry_after(2)
}
