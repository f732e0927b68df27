//! One link per runner: a task that connects, announces this leader, has the runner load its models,
//! and checks its health.
//!
//! A runner that remembers a higher epoch refuses. The link then asks for a raise of this leader's, and
//! announces itself again once the Lease has it. Links to other runners keep the epoch that those know,
//! so their work goes on.

use super::fleet::{Answer, Check, Failure};
use super::runners::{RunnerClient, RunnerError};
use super::target::{Keep, Target};
use crate::leader::{LeaderEpoch, Remedy};
use crate::pool::{PoolKey, weights};
use fovea_protocol::{LeaderRequest, ModelRequest, ModelState, RunnerState};
use fovea_store::Store;
use kube::Client;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Interval between two health checks.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Interval between two announcements to the same instance of a runner, which forgets leaders that are
/// silent.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(10);

/// Interval between two raises of the epoch for one runner. Two clusters with copies of one Lease and a
/// common runner do not outbid each other all the time.
const RAISE_EVERY: Duration = Duration::from_mins(10);

/// Delay before the request to load a model is repeated after a failure.
const PUT_AGAIN_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Report {
    pub pool: PoolKey,
    pub endpoint: String,
    pub check: Check,
}

#[derive(Clone)]
pub(super) struct Linking {
    pub client: Client,
    pub store: Store,
    pub epoch: LeaderEpoch,
    /// Hosts that external endpoints may name.
    pub allowed_hosts: Vec<String>,
    pub reports: mpsc::Sender<Report>,
}

impl Linking {
    /// Checks the runner at `endpoint` until the handle is dropped.
    pub(super) fn link(
        &self,
        pool: &PoolKey,
        endpoint: &str,
        target: Target,
    ) -> AbortOnDropHandle<()> {
        let link = Link {
            leader: self.epoch.current(),
            raised: None,
            linking: self.clone(),
            pool: pool.clone(),
            endpoint: endpoint.to_owned(),
            target,
            session: None,
        };
        AbortOnDropHandle::new(tokio::spawn(link.run()))
    }
}

struct Link {
    linking: Linking,
    pool: PoolKey,
    endpoint: String,
    target: Target,
    session: Option<Session>,
    /// This leader, as it is announced to the runner.
    leader: LeaderRequest,
    /// When a raise of the epoch was last asked for.
    raised: Option<Instant>,
}

/// A client, and the requests that the runner's present instance has received from it.
struct Session {
    client: RunnerClient,
    /// The instance to which this leader was announced, and when last.
    announced: Option<(String, Instant)>,
    /// Time of the request to load each model, and its error if it failed.
    put: BTreeMap<String, (Instant, Option<String>)>,
}

impl Link {
    async fn run(mut self) {
        loop {
            let check = self.check().await;
            if check.is_err() {
                // The Secret may have changed meanwhile: the next check reads it again.
                self.session = None;
            }
            let report = Report {
                pool: self.pool.clone(),
                endpoint: self.endpoint.clone(),
                check,
            };
            if self.linking.reports.send(report).await.is_err() {
                return;
            }
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    async fn check(&mut self) -> Check {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.connect().await?,
        };
        let text = |error: RunnerError| error.to_string();
        let client = session.client.clone();
        let mut state = client.state().await.map_err(text)?;
        let known = session.announced.as_ref();
        let known = known.filter(|(instance, _)| *instance == state.instance);
        let is_new = known.is_none();
        if known.is_none_or(|(_, at)| at.elapsed() >= ANNOUNCE_EVERY) {
            self.announce(&client).await?;
            session.announced = Some((state.instance.clone(), Instant::now()));
        }
        if is_new {
            // Only the state after the announcement counts: by then it has dropped older work.
            state = client.state().await.map_err(text)?;
            session.put.clear();
        }
        for keep in self.target.keep() {
            if is_to_be_put(keep, &session, &state) {
                let failed = self.put(&client, keep).await.err();
                session
                    .put
                    .insert(keep.name.clone(), (Instant::now(), failed));
            }
            let failed = session.put.get(&keep.name);
            if let Some(why) = failed.and_then(|(_, why)| why.clone()) {
                state.models.retain(|known| known.name != keep.name);
                state.models.push(not_kept(keep, why));
            }
        }
        self.session = Some(session);
        Ok(Answer {
            client,
            leader: self.leader.clone(),
            state,
        })
    }

    /// Announces this leader, with a higher epoch if the runner refuses the one that it knew before.
    async fn announce(&mut self, client: &RunnerClient) -> Result<(), Failure> {
        let mut refused = client.announce(&self.leader).await;
        if let Err(RunnerError::StaleEpoch(remembered)) = &refused
            && self.remedy(*remembered) == Remedy::AnnounceCurrent
        {
            self.leader = self.linking.epoch.current();
            refused = client.announce(&self.leader).await;
        }
        match refused {
            Err(RunnerError::StaleEpoch(remembered)) => {
                Err(Failure::StaleEpoch(self.stale_epoch(remembered)))
            }
            other => other.map_err(|error| Failure::Unavailable(error.to_string())),
        }
    }

    fn remedy(&self, remembered: Option<u64>) -> Remedy {
        self.linking.epoch.remedy(self.leader.epoch, remembered)
    }

    /// Asks for a raise where that may help; returns the refusal's text for the pool's condition.
    fn stale_epoch(&mut self, remembered: Option<u64>) -> String {
        let own = self.leader.epoch;
        let Some(epoch) = remembered else {
            return format!(
                "the runner follows a leader of a higher epoch than {own} and does not say which; \
                 restart the runner"
            );
        };
        let refusal =
            format!("the runner follows a leader of epoch {epoch}; this leader's is {own}");
        match self.remedy(remembered) {
            Remedy::Raise(to) => {
                let is_due = self.raised.is_none_or(|at| at.elapsed() >= RAISE_EVERY);
                if is_due {
                    self.raised = Some(Instant::now());
                    self.linking.epoch.raise_to(to);
                }
                format!(
                    "{refusal} and is raised, at most once in {} s",
                    RAISE_EVERY.as_secs()
                )
            }
            Remedy::AnnounceCurrent => format!("{refusal}, and the higher one is announced"),
            Remedy::None => format!(
                "{refusal} and cannot be raised that far; restart the runner, or delete the \
                 operator's Lease"
            ),
        }
    }

    async fn connect(&self) -> Result<Session, String> {
        let Linking {
            client,
            allowed_hosts,
            ..
        } = &self.linking;
        let client = (self.target.connect(client, &self.pool, allowed_hosts)).await?;
        Ok(Session {
            client,
            announced: None,
            put: BTreeMap::new(),
        })
    }

    async fn put(&self, client: &RunnerClient, keep: &Keep) -> Result<(), String> {
        let source = weights::source(&self.linking.store, &keep.weights)
            .await
            .map_err(|error| error.to_string())?;
        let request = ModelRequest {
            installation: self.leader.installation.clone(),
            epoch: self.leader.epoch,
            task: super::wire::task(keep.task),
            source,
            dtype: super::wire::dtype(keep.dtype),
            max_batch_size: NonZeroU32::new(keep.max_batch_size),
        };
        client
            .keep(&keep.name, &request)
            .await
            .map_err(|error| error.to_string())
    }
}

/// Each instance of a runner gets one request to load a model, and another one after a failure, with
/// newly signed URLs.
fn is_to_be_put(keep: &Keep, session: &Session, state: &RunnerState) -> bool {
    let Some((at, why)) = session.put.get(&keep.name) else {
        return true;
    };
    let known = state.models.iter().find(|known| known.name == keep.name);
    let failed = why.is_some() || known.is_none_or(|known| known.failure.is_some());
    failed && at.elapsed() >= PUT_AGAIN_AFTER
}

/// The state of a model whose request to load failed.
fn not_kept(keep: &Keep, why: String) -> ModelState {
    ModelState {
        name: keep.name.clone(),
        task: super::wire::task(keep.task),
        revision: String::new(),
        ready: false,
        failure: Some(why),
    }
}
