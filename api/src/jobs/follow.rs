//! Follows one job: its successive versions, and the wait for its end.

use super::Jobs;
use super::cache::{JobKey, Subscription, Update};
use crate::auth::Tenant;
use crate::error::Problem;
use crate::shares::{Permit, Refused};
use fovea_crds::InferenceJob;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// A job's versions. Each follower counts against the limit on waiting requests until it is dropped.
pub(crate) struct Follower {
    jobs: Jobs,
    subscription: Subscription,
    job: Arc<InferenceJob>,
    tenant: Tenant,
    _permit: Permit,
}

impl Jobs {
    /// Follows a job, unless there is no place for another waiting request.
    pub(crate) async fn follow(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Result<Follower, Refused>, Problem> {
        let permit = match self.waiters.try_acquire(tenant.parties, 1) {
            Ok(permit) => permit,
            Err(refused) => return Ok(Err(refused)),
        };
        // Before the read, so that no later change is missed.
        let subscription = self.cache.subscribe(JobKey::new(&tenant.namespace, name));
        let job = trimmed(self.get(tenant, name).await?);
        Ok(Ok(Follower {
            jobs: self.clone(),
            subscription,
            job,
            tenant: tenant.clone(),
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
            let (job, is_current) = match self.subscription.next().await {
                Update::None => continue,
                Update::Job(job) => (job, false),
                // A job created during a new list may be missing from it.
                Update::Unknown => (self.fetch().await?, true),
            };
            if job.metadata.resource_version != self.job.metadata.resource_version
                && (is_current || !job.is_older_than(&self.job))
            {
                self.job = trimmed(job);
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
        let name = self.job.metadata.name.as_deref().unwrap_or_default();
        self.jobs.fetch(&self.tenant, name).await
    }
}

/// The job as the cache keeps it: thousands may be followed at once.
fn trimmed(job: Arc<InferenceJob>) -> Arc<InferenceJob> {
    if job.metadata.managed_fields.is_none() {
        return job;
    }
    Arc::new(Arc::unwrap_or_clone(job).trimmed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::jobs::{Records, WatchScope};
    use crate::kubernetes::{Clients, Namespaces};
    use crate::metrics::Metrics;
    use axum::body::Body;
    use fovea_crds::{InferenceJobSpec, Input, Task};
    use fovea_store::{Store, StoreConfig};
    use http::{Request, Response};
    use std::convert::Infallible;

    fn version(number: u64) -> InferenceJob {
        let spec = InferenceJobSpec::new(Task::ImageToText, Input::Object { key: "a".into() });
        let mut job = InferenceJob::new("a", spec);
        job.metadata.namespace = Some("ns".into());
        job.metadata.uid = Some("u".into());
        job.metadata.resource_version = Some(number.to_string());
        job
    }

    /// The API server has the job's version 4; the watch is never answered.
    async fn jobs() -> Jobs {
        let answer = tower::service_fn(|request: Request<kube::client::Body>| async move {
            if !request.uri().path().ends_with("/a") {
                return std::future::pending().await;
            }
            let job = serde_json::to_vec(&version(4)).unwrap();
            Ok::<_, Infallible>(Response::new(Body::from(job)))
        });
        let client = kube::Client::new(answer, "ns");
        let clients = Clients {
            requests: client.clone(),
            watches: client,
        };
        let (timeout, metrics) = (Duration::from_secs(10), Metrics::new());
        let store = StoreConfig::at("http://127.0.0.1:9".parse().unwrap(), "none");
        let store = Store::connect_as(&store, "key", "secret").await.unwrap();
        let namespaces = Namespaces::new(clients.requests.clone(), timeout);
        let records = Records::new(store, Arc::new(namespaces), timeout, &metrics);
        let budget = Budget::new(1_000_000);
        Jobs::start(
            &clients,
            timeout,
            WatchScope::All,
            records,
            1,
            &metrics,
            budget,
        )
    }

    #[tokio::test]
    async fn after_a_restore_a_follower_gets_the_version_that_was_restored() {
        let jobs = jobs().await;
        jobs.cache.relist();
        jobs.cache.apply(version(9));
        jobs.cache.relisted();
        let tenant = Tenant::anybody("ns");
        let mut follower = jobs.follow(&tenant, "a").await.unwrap().unwrap();
        assert_eq!(*follower.job().as_ref(), version(9));
        jobs.cache.set_back();
        assert_eq!(**follower.next().await.unwrap(), version(4));
        // And then what the new list says.
        jobs.cache.relist();
        jobs.cache.apply(version(5));
        assert_eq!(**follower.next().await.unwrap(), version(5));
    }
}
