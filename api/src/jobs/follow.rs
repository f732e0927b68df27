//! Following one job: its versions as they come, and the wait for its end.

use super::Jobs;
use super::cache::{JobKey, Subscription, Update};
use crate::error::Problem;
use fovea_crds::InferenceJob;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// One who follows a job. It takes one of the places that there are for waiters, and gives it
/// back when it is dropped.
pub(crate) struct Follower {
    jobs: Jobs,
    subscription: Subscription,
    job: Arc<InferenceJob>,
    _place: OwnedSemaphorePermit,
}

impl Jobs {
    /// Follows a job; `None` where all places for waiters are taken.
    pub(crate) async fn follow(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Follower>, Problem> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Ok(None);
        };
        // Before the read: what changes after it is told.
        let subscription = self.cache.subscribe(JobKey::new(namespace, name));
        let job = self.get(namespace, name).await?;
        Ok(Some(Follower {
            jobs: self.clone(),
            subscription,
            job,
            _place: place,
        }))
    }
}

impl Follower {
    /// The job as it is known now.
    pub(crate) fn job(&self) -> &Arc<InferenceJob> {
        &self.job
    }

    /// The job's next version; versions that come faster than they are asked for are skipped. The
    /// error says that it is gone, or that nothing can be known of it now.
    pub(crate) async fn next(&mut self) -> Result<&Arc<InferenceJob>, Problem> {
        loop {
            let job = match self.subscription.next().await {
                Update::None => continue,
                Update::Job(job) => job,
                // A job made while everything was listed anew may be missing in that list.
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

    /// Waits until the job has ended, for at most `patience`, and tells what it is then; the wait
    /// is cut short where the service ends.
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
