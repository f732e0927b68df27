//! Leader election by a Lease, after client-go's rules: a candidate judges the holder by its own
//! clock since it last saw the Lease change, never by the times written in it; every write is a
//! PUT conditional on resourceVersion; holder and transitions change in one write.

mod decide;
mod epoch;

pub(crate) use epoch::{LeaderEpoch, Remedy};

use crate::kill_points;
use decide::{Move, Observed, decide, is_free};
use epoch::Raising;
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher::watch_object};
use kube::{Api, Client};
use std::pin::pin;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Flags and environment of the election.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Leader election")]
pub struct LeaderConfig {
    /// Name of the Lease by which replicas elect a leader, in the namespace of --namespace.
    /// Installations in one namespace need different names.
    #[arg(long = "lease-name", env = "FOVEA_OPERATOR_LEASE_NAME")]
    #[arg(default_value = "fovea-operator")]
    pub name: String,
    /// Time in milliseconds without a renewal after which another replica takes the Lease over.
    /// Longer values tolerate slower API servers; shorter ones fail over sooner.
    #[arg(long = "lease-duration-ms", env = "FOVEA_OPERATOR_LEASE_DURATION_MS")]
    #[arg(default_value_t = 15_000)]
    pub duration_ms: u64,
    /// Time in milliseconds without a successful renewal after which the leader exits. Must be
    /// shorter than --lease-duration-ms, so that it stops before another replica starts.
    #[arg(long = "lease-renew-deadline-ms")]
    #[arg(env = "FOVEA_OPERATOR_LEASE_RENEW_DEADLINE_MS")]
    #[arg(default_value_t = 10_000)]
    pub renew_deadline_ms: u64,
    /// Interval between renewals by the leader, and between attempts of the other replicas to take
    /// the Lease, in milliseconds. Must be shorter than --lease-renew-deadline-ms.
    #[arg(long = "lease-retry-period-ms")]
    #[arg(env = "FOVEA_OPERATOR_LEASE_RETRY_PERIOD_MS", default_value_t = 2_000)]
    pub retry_period_ms: u64,
}

/// What ended the election or the leadership.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    #[error("--lease-retry-period-ms < --lease-renew-deadline-ms < --lease-duration-ms must hold")]
    Periods,
    /// Another replica holds the Lease, or the API server was unreachable for too long.
    #[error("the lease {0} is lost: this process must stop")]
    Lost(String),
}

/// A held Lease; while [`Leadership::hold`] runs, this process leads.
pub(crate) struct Leadership {
    election: Election,
    lease: Lease,
    raising: Raising,
}

struct Election {
    api: Api<Lease>,
    config: LeaderConfig,
    identity: String,
}

pub(crate) async fn acquire(
    client: Client,
    namespace: &str,
    config: LeaderConfig,
    identity: String,
) -> Result<Leadership, LeaderError> {
    let ordered = config.retry_period_ms < config.renew_deadline_ms
        && config.renew_deadline_ms < config.duration_ms;
    if !ordered {
        return Err(LeaderError::Periods);
    }
    let election = Election {
        api: Api::namespaced(client, namespace),
        config,
        identity,
    };
    let mut observed = Observed::default();
    let released = watch_object(election.api.clone(), &election.config.name)
        .default_backoff()
        .filter(|lease| std::future::ready(matches!(lease, Ok(Some(lease)) if is_free(lease))));
    let mut released = pin!(released);
    let mut standing_by = false;
    loop {
        let limit = Duration::from_millis(election.config.renew_deadline_ms);
        match tokio::time::timeout(limit, election.step(&mut observed)).await {
            Ok(Ok(Some(lease))) => {
                return Ok(Leadership {
                    raising: Raising::of(&lease, &election.identity),
                    election,
                    lease,
                });
            }
            Ok(Ok(None)) if !standing_by => {
                tracing::info!(lease = election.config.name, "standing by");
                standing_by = true;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "reading or taking the lease failed"),
            Err(_) => tracing::warn!("reading or taking the lease took too long"),
        }
        let period = Duration::from_millis(election.config.retry_period_ms);
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            // A released lease is taken at once.
            Some(_) = released.next() => {}
        }
    }
}

impl Leadership {
    /// This leader as runners know it: the uid of the Lease names the installation, its transitions
    /// are the epoch. A Lease that is deleted and created again starts a new installation.
    pub(crate) fn epoch(&self) -> LeaderEpoch {
        self.raising.epoch()
    }

    /// Renews until `stop`, then releases the Lease; fails if the Lease is lost. A renewal raises the
    /// epoch where that was asked for.
    pub(crate) async fn hold(mut self, stop: CancellationToken) -> Result<(), LeaderError> {
        let retry = Duration::from_millis(self.election.config.retry_period_ms);
        let limit = Duration::from_millis(self.election.config.renew_deadline_ms);
        let mut renewed = boot_time();
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    self.release().await;
                    return Ok(());
                }
                () = tokio::time::sleep(retry) => {}
            }
            // The lease counts as renewed from before the write: its duration counts against us.
            let start = boot_time();
            let remaining = limit.saturating_sub(start.saturating_sub(renewed));
            match tokio::time::timeout(remaining, self.renew()).await {
                Ok(Ok(())) => renewed = start,
                Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {
                    return Err(self.lost());
                }
                Ok(Err(error)) => tracing::warn!(%error, "renewing the lease failed"),
                Err(_) => return Err(self.lost()),
            }
            if boot_time().saturating_sub(renewed) >= limit {
                return Err(self.lost());
            }
        }
    }

    fn lost(&self) -> LeaderError {
        LeaderError::Lost(self.election.config.name.clone())
    }

    async fn renew(&mut self) -> Result<(), kube::Error> {
        let mut next = self.lease.clone();
        let spec = next.spec.get_or_insert_default();
        spec.renew_time = Some(MicroTime(crate::time::now()));
        spec.lease_transitions = Some(self.raising.transitions());
        self.lease = self.election.put(&next).await?;
        self.raising.written(&self.lease);
        kill_points::after(kill_points::LEASE_RENEWED);
        Ok(())
    }

    async fn release(&mut self) {
        let mut next = self.lease.clone();
        let spec = next.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(crate::time::now()));
        match self.election.put(&next).await {
            Ok(_) => kill_points::after(kill_points::LEASE_RELEASED),
            Err(error) => {
                tracing::warn!(%error, "handing the lease over failed; it runs out by itself");
            }
        }
    }
}

impl Election {
    async fn step(&self, observed: &mut Observed) -> Result<Option<Lease>, kube::Error> {
        let found = self.api.get_opt(&self.config.name).await?;
        match decide(found.as_ref(), observed, boot_time(), &self.identity) {
            Move::Wait => Ok(None),
            Move::Create => self
                .api
                .create(&PostParams::default(), &self.first_lease())
                .await
                .map(Some)
                .inspect(|_| kill_points::after(kill_points::LEASE_CREATED)),
            Move::Take { transitions } => {
                let mut next = found.unwrap_or_default();
                next.spec = Some(self.spec(transitions));
                let taken = self.put(&next).await?;
                kill_points::after(kill_points::LEASE_TAKEN);
                Ok(Some(taken))
            }
        }
    }

    async fn put(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        self.api
            .replace(&self.config.name, &PostParams::default(), lease)
            .await
    }

    fn first_lease(&self) -> Lease {
        let metadata = ObjectMeta {
            name: Some(self.config.name.clone()),
            ..Default::default()
        };
        Lease {
            metadata,
            spec: Some(self.spec(0)),
        }
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(crate::time::now());
        let seconds = self.config.duration_ms.div_ceil(1000).max(1);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            lease_transitions: Some(transitions),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..Default::default()
        }
    }
}

/// Time since boot, sleep included: a laptop's lid or a frozen virtual machine counts.
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
