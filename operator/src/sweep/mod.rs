//! Deletes objects that no job needs any more: pictures below `uploads/`, results below `results/`, plans and
//! parts of batches below `system/`, and what was uploaded with batches, below
//! `data/<namespace>/fovea-batches/`; records of jobs that have expired; and answers for reuse that have been
//! kept for long enough. All else in `data/` is the user's.
//!
//! Objects are listed in chunks of at most [`CHUNK`]. After each chunk all jobs and then all
//! namespaces are read consistently; objects that none of them needs and that were last put longer ago
//! than the grace are deleted. The upload of a job that is created after that read is younger than the
//! grace, which exceeds the deadline of the api's requests; its age is checked again right before the
//! deletion. If a list fails or is incomplete, the objects of the chunk stay, and the sweep ends until
//! the next one is due. So it does if the bucket belongs to another installation, whose objects would
//! all seem to be needed by no job. A bucket with fewer old objects than [`CHUNK`] is one chunk.

mod decide;
mod read;

use crate::installation::{Bucket, ClaimError};
use crate::metrics::{Fate, Metrics};
use decide::{Chunk, Taken, limit};
use fovea_store::{Deletion, Listed, ObjectKey, Part, Store, StoreError};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::Client;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::MissedTickBehavior;

/// Objects checked against one list of the jobs, give or take a page. About 500 bytes each:
/// 10 MB, however many objects and jobs there are. A bucket of a million old objects costs fifty lists of the jobs.
const CHUNK: usize = 20_000;

const DELETIONS_AT_A_TIME: usize = 8;

/// Most bytes of the object that names a batch's namespace.
const MAX_NAMESPACE_BYTES: u64 = 1024;

/// The shortest allowed grace: S3 lets clocks differ by a quarter of an hour, and a request
/// to the api takes less than another one by the defaults of all its timeouts. Tests with one clock wait less.
const SHORTEST_GRACE_SECONDS: u64 = if cfg!(feature = "failpoints") {
    10
} else {
    30 * 60
};

/// Flags and environment of the sweeper.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Sweeper")]
pub struct SweepConfig {
    /// Interval between sweeps of the bucket, in seconds; 0 disables them. A sweep deletes what no
    /// job needs any more: uploads, those with batches among them, results, and batches' plans and parts. It also
    /// deletes expired records and answers for reuse. A bucket that belongs to another installation is not swept.
    #[arg(long = "sweep-every-seconds")]
    #[arg(env = "FOVEA_OPERATOR_SWEEP_EVERY_SECONDS", default_value_t = 3600)]
    pub every_seconds: u64,

    /// Minimum age, in seconds, at which an object may be swept: at least 1800, and longer than any
    /// API request can take, since an upload exists before its job.
    #[arg(long = "sweep-grace-seconds")]
    #[arg(env = "FOVEA_OPERATOR_SWEEP_GRACE_SECONDS", default_value_t = 7200)]
    #[arg(value_parser = clap::value_parser!(u64).range(SHORTEST_GRACE_SECONDS..))]
    pub grace_seconds: u64,

    /// Maximum rate at which a sweep deletes objects, in objects per second.
    #[arg(long = "sweep-deletes-per-second")]
    #[arg(env = "FOVEA_OPERATOR_SWEEP_DELETES_PER_SECOND", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub deletes_per_second: u32,

    /// Time, in seconds, for which answers are kept and used for jobs with spec.reuse. After it they are not
    /// used any more, and the next sweep deletes them.
    #[arg(long, env = "FOVEA_OPERATOR_REUSE_RETENTION_SECONDS", default_value_t = 30 * 24 * 3600)]
    #[arg(value_parser = clap::value_parser!(u64).range(3600..=366 * 24 * 3600))]
    pub reuse_retention_seconds: u64,
}

impl SweepConfig {
    /// Time for which answers are kept.
    pub(crate) fn reuse_retention(&self) -> Duration {
        Duration::from_secs(self.reuse_retention_seconds)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    /// The bucket belongs to another installation, or its owner is unknown.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A list of the bucket or a deletion failed.
    #[error("the bucket: {0}")]
    Store(#[from] StoreError),
    /// A list of the jobs or the namespaces failed.
    #[error("the API server's list: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("the API server's list: no answer in time")]
    TooSlow,
    /// A list holds an object that cannot be decoded.
    #[error("the API server's list holds {0}")]
    Unreadable(&'static str),
}

pub(crate) struct Sweeper {
    client: Client,
    store: Store,
    config: SweepConfig,
    metrics: Arc<Metrics>,
    bucket: Bucket,
}

impl Sweeper {
    /// A sweeper of the objects of the namespace that the operator watches, or of all namespaces.
    pub(crate) fn new(
        client: Client,
        store: Store,
        config: SweepConfig,
        metrics: Arc<Metrics>,
        bucket: Bucket,
    ) -> Self {
        Self {
            client,
            store,
            config,
            metrics,
            bucket,
        }
    }

    fn namespace(&self) -> Option<&str> {
        self.bucket.watch_namespace.as_deref()
    }

    /// Sweeps at the configured interval until dropped. The first sweep comes after a whole interval, so
    /// that leaders that end soon after their start do not list the bucket each time.
    pub(crate) async fn run(self) {
        if self.config.every_seconds == 0 {
            return;
        }
        let period = Duration::from_secs(self.config.every_seconds);
        let mut due = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            match Box::pin(self.sweep()).await {
                Ok(deleted) => {
                    tracing::info!(deleted, "swept the bucket");
                    self.metrics.swept(true);
                }
                Err(error) => {
                    tracing::warn!(%error, "the sweep of the bucket ended early; the remaining objects stay");
                    self.metrics.swept(false);
                }
            }
        }
    }

    /// Checks all objects in the bucket; returns how many it deleted.
    async fn sweep(&self) -> Result<usize, SweepError> {
        self.bucket.claim().await?;
        let now = crate::time::system_now();
        let answers_limit = limit(now, self.config.reuse_retention());
        let limit = limit(now, Duration::from_secs(self.config.grace_seconds));
        // Which records can be needed; before one is deleted, the namespaces are read again.
        let namespaces = read::namespaces(&self.client, self.namespace()).await?;
        let mut chunk = Chunk::new(answers_limit);
        let mut deleted = 0;
        let parts = Part::ALL.map(|part| (part, self.namespace().map(str::to_owned)));
        let mut parts = parts.to_vec();
        let folders = self.folders().await?.into_iter();
        parts.extend(folders.map(|namespace| (Part::BatchUploads, Some(namespace))));
        for (part, namespace) in &parts {
            let mut pages = std::pin::pin!(self.pages(*part, namespace.as_deref()));
            while let Some(page) = pages.try_next().await? {
                for listed in page {
                    match chunk.take(listed, limit, &namespaces) {
                        Taken::Candidate => {}
                        Taken::Needed => self.metrics.swept_object(Fate::Needed, 1),
                        Taken::Young => self.metrics.swept_object(Fate::Young, 1),
                        Taken::Foreign => self.metrics.swept_object(Fate::Foreign, 1),
                    }
                }
                if chunk.len() >= CHUNK {
                    let full = std::mem::replace(&mut chunk, Chunk::new(answers_limit));
                    deleted += self.judge(full, limit).await?;
                }
            }
        }
        deleted += self.judge(chunk, limit).await?;
        Ok(deleted)
    }

    async fn judge(&self, mut chunk: Chunk, limit: SystemTime) -> Result<usize, SweepError> {
        let candidates = chunk.len();
        if candidates == 0 {
            return Ok(0);
        }
        read::jobs(&self.client, self.namespace(), &mut chunk).await?;
        self.keep_batches_of_others(&mut chunk).await?;
        // After the jobs: a job that is deleted early has its record before it goes.
        if chunk.has_results() {
            let mut pages = std::pin::pin!(self.pages(Part::Results, self.namespace()));
            while let Some(page) = pages.try_next().await? {
                for listed in page {
                    chunk.record(listed, limit);
                }
            }
        }
        let namespaces = read::namespaces(&self.client, self.namespace()).await?;
        let unneeded = chunk.unneeded(&namespaces);
        let needed = candidates.saturating_sub(unneeded.len());
        self.metrics.swept_object(Fate::Needed, needed as u64);
        self.delete(unneeded, limit).await
    }

    /// Keeps the batches of namespaces whose jobs are not listed: those that an operator of all namespaces has left
    /// to one of a single namespace.
    async fn keep_batches_of_others(&self, chunk: &mut Chunk) -> Result<(), SweepError> {
        let Some(namespace) = self.namespace() else {
            return Ok(());
        };
        for uid in chunk.batches() {
            let key = ObjectKey::batch_namespace(&uid);
            let key = key.map_err(|error| StoreError::Config(error.to_string()))?;
            let is_ours = match self.store.get(&key, MAX_NAMESPACE_BYTES).await {
                Ok(text) => text == namespace,
                Err(StoreError::NotFound { .. }) => false,
                Err(error) => return Err(error.into()),
            };
            if !is_ours {
                chunk.batch_of_others(&uid);
            }
        }
        Ok(())
    }

    /// The namespaces whose folders in `data/` are swept, those that are gone among them.
    async fn folders(&self) -> Result<Vec<String>, StoreError> {
        match self.namespace() {
            Some(namespace) => Ok(vec![namespace.to_owned()]),
            None => self.store.data_namespaces().await,
        }
    }

    /// The objects of one part, of one namespace or of all, page by page.
    fn pages<'a>(
        &'a self,
        part: Part,
        namespace: Option<&'a str>,
    ) -> impl Stream<Item = Result<Vec<Listed>, StoreError>> + 'a {
        // The token of the next page, which the first page has none of; `None` after the last page.
        futures::stream::try_unfold(Some(None), move |next| async move {
            let Some(token) = next else {
                return Ok(None);
            };
            let page = self.store.list(part, namespace, token).await?;
            Ok(Some((page.objects, page.next.map(Some))))
        })
    }

    /// Deletes at the configured rate; returns how many it deleted. The first failure ends it.
    async fn delete(&self, keys: Vec<ObjectKey>, limit: SystemTime) -> Result<usize, SweepError> {
        let pace = Duration::from_secs(1) / self.config.deletes_per_second;
        let mut turns = tokio::time::interval(pace);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let paced = futures::stream::unfold((turns, keys), |(mut turns, mut keys)| async {
            let key = keys.pop()?;
            turns.tick().await;
            Some((key, (turns, keys)))
        });
        let deletions = paced.map(|key| async move {
            let deletion = self.store.delete_unless_put_after(&key, limit).await;
            (key, deletion)
        });
        let mut deletions = std::pin::pin!(deletions.buffer_unordered(DELETIONS_AT_A_TIME));
        let mut deleted = 0;
        while let Some((key, deletion)) = deletions.next().await {
            let fate = match deletion {
                Ok(Deletion::Gone) => Fate::Deleted,
                Ok(Deletion::PutAgain) => Fate::PutAgain,
                Ok(Deletion::TooSlow) => Fate::TooSlow,
                Err(error) => {
                    self.metrics.swept_object(Fate::Failed, 1);
                    return Err(error.into());
                }
            };
            tracing::debug!(%key, ?fate, "swept");
            deleted += usize::from(fate == Fate::Deleted);
            self.metrics.swept_object(fate, 1);
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        sweep: SweepConfig,
    }

    #[test]
    fn a_grace_that_a_slow_request_could_outlast_is_refused_at_start() {
        let parse = |seconds: &str| Flags::try_parse_from(["x", "--sweep-grace-seconds", seconds]);
        assert!(parse("1799").is_err());
        assert!(parse("0").is_err());
        assert_eq!(parse("1800").unwrap().sweep.grace_seconds, 1800);
    }
}
