//! Follows one job: its successive versions, and the wait for its end.

use super::Jobs;
use super::cache::{JobKey, Subscription, Update};
use crate::error::Problem;
use fovea_crds::InferenceJob;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// A job's versions. Each follower counts against the limit on waiting requests until it is dropped.
pub(crate) struct Follower {
    jobs: Jobs,
    subscription: Subscription,
    job: Arc<InferenceJob>,
    _permit: OwnedSemaphorePermit,
}

impl Jobs {
    /// Follows a job; `None` if the limit on waiting requests is reached.
    pub(crate) async fn follow(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Follower>, Problem> {
        let Ok(permit) = Arc::clone(&self.waiters).try_acquire_owned() else {
            return Ok(None);
        };
        // Before the read, so that no later change is missed.
        let subscription = self.cache.subscribe(JobKey::new(namespace, name));
        let job = self.get(namespace, name).await?;
        Ok(Some(Follower {
            jobs: self.clone(),
            subscription,
            job,
            _permit: permit,
        }))
    }
}

impl Follower {
    pub(crate) fn job(&self) -> &Arc<InferenceJob> {
        &self.job
    }

    /// The job's next version; a slow caller skips versions. Fails if the job was deleted or the API
    /// server does not answer.
    pub(crate) async fn next(&mut self) -> Result<&Arc<InferenceJob>, Problem> {
        loop {
            let job = match self.subscription.next().await {
                Update::None => continue,
                Update::Job(job) => job,
                // A job created during a new list may be missing from it.
                Update::Deleted => self.fetch().await?,
            };
            if job.metadata.resource_version != self.job.metadata.resource_version
                && !job.is_older_than(&self.job)
            {
                self.job = job;
                return Ok(&self.job);
            }
        }
    }

    /// Waits until the job has ended, for at most `patience`, or until the service drains; returns the
    /// latest version.
    pub(crate) async fn end(
        mut self,
        patience: Duration,
        draining: &CancellationToken,
    ) -> Result<Arc<InferenceJob>, Problem> {
        let deadline = Instant::now() + patience;
        while !self.job.is_finished() {
            let next = timeout_at(deadline, self.next());
            let waited = draining.run_until_cancelled(next).await;
            if let Some(Ok(next)) = waited {
                next?;
            } else if self.jobs.cache.is_fresh() {
                break;
            } else {
                // The watch is down: read the job from the API server once.
                return self.fetch().await;
            }
        }
        Ok(self.job)
    }

    async fn fetch(&self) -> Result<Arc<InferenceJob>, Problem> {
        let namespace = self.job.metadata.namespace.as_deref().unwrap_or_default();
        let name = self.job.metadata.name.as_deref().unwrap_or_default();
        self.jobs.fetch(namespace, name).await
    }
}
