//! One link per runner: a task that connects, announces this leader, has the runner load its models,
//! and checks its health.

use super::fleet::Check;
use super::runners::{RunnerClient, RunnerError};
use super::target::{Keep, Target};
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
    pub leader: LeaderRequest,
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
}

/// A client, and the requests that the runner's present instance has received from it.
struct Session {
    client: RunnerClient,
    instance: Option<String>,
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
        if session.instance.as_ref() != Some(&state.instance) {
            client.announce(&self.linking.leader).await.map_err(text)?;
            // Only the state after the announcement counts: by then it has dropped older work.
            state = client.state().await.map_err(text)?;
            session.instance = Some(state.instance.clone());
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
        Ok((client, state))
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
            instance: None,
            put: BTreeMap::new(),
        })
    }

    async fn put(&self, client: &RunnerClient, keep: &Keep) -> Result<(), String> {
        let source = weights::source(&self.linking.store, &keep.weights)
            .await
            .map_err(|error| error.to_string())?;
        let request = ModelRequest {
            installation: self.linking.leader.installation.clone(),
            epoch: self.linking.leader.epoch,
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
