//! One link per runner: it connects, tells the runner who leads and what to keep, and asks again and
//! again what the runner serves.

use super::fleet::Health;
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

/// How often a runner is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A model that a runner could not keep is put again after this.
const PUT_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// A runner has been asked.
#[derive(Debug)]
pub(super) struct Report {
    /// Its pool.
    pub pool: PoolKey,
    /// Its endpoint.
    pub endpoint: String,
    /// What it said.
    pub health: Health,
}

/// What every link needs.
#[derive(Clone)]
pub(super) struct Linking {
    /// For the pools' Secrets.
    pub client: Client,
    /// Signs for weights.
    pub store: Store,
    /// Who speaks.
    pub leader: LeaderRequest,
    /// Hosts that external endpoints may name.
    pub allowed_hosts: Vec<String>,
    /// Where reports go.
    pub reports: mpsc::Sender<Report>,
}

impl Linking {
    /// Keeps asking the runner at `endpoint` until the handle is dropped.
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
            connected: None,
        };
        AbortOnDropHandle::new(tokio::spawn(link.run()))
    }
}

struct Link {
    linking: Linking,
    pool: PoolKey,
    endpoint: String,
    target: Target,
    connected: Option<Connected>,
}

/// A client, and what has been said by it to the runner's present instance.
struct Connected {
    client: RunnerClient,
    instance: Option<String>,
    /// When which model was put, and why that did not come about.
    put: BTreeMap<String, (Instant, Option<String>)>,
}

impl Link {
    async fn run(mut self) {
        loop {
            let health = match self.ask().await {
                Ok((client, state)) => Health::Up { client, state },
                Err(why) => {
                    // The Secret may have been mended meanwhile: the next try reads it again.
                    self.connected = None;
                    Health::Down(why)
                }
            };
            let report = Report {
                pool: self.pool.clone(),
                endpoint: self.endpoint.clone(),
                health,
            };
            if self.linking.reports.send(report).await.is_err() {
                return;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn ask(&mut self) -> Result<(RunnerClient, RunnerState), String> {
        let mut connected = match self.connected.take() {
            Some(connected) => connected,
            None => self.connect().await?,
        };
        let say = |error: RunnerError| error.to_string();
        let client = connected.client.clone();
        let mut state = client.state().await.map_err(say)?;
        if connected.instance.as_ref() != Some(&state.instance) {
            client.announce(&self.linking.leader).await.map_err(say)?;
            // Only what it says after the announcement counts: it has dropped older work by then.
            state = client.state().await.map_err(say)?;
            connected.instance = Some(state.instance.clone());
            connected.put.clear();
        }
        for keep in self.target.keep() {
            if is_to_be_put(keep, &connected, &state) {
                let failed = self.put(&client, keep).await.err();
                (connected.put).insert(keep.name.clone(), (Instant::now(), failed));
            }
            let failed = connected.put.get(&keep.name);
            if let Some(why) = failed.and_then(|(_, why)| why.clone()) {
                state.models.retain(|known| known.name != keep.name);
                state.models.push(not_kept(keep, why));
            }
        }
        self.connected = Some(connected);
        Ok((client, state))
    }

    async fn connect(&self) -> Result<Connected, String> {
        let Linking {
            client,
            allowed_hosts,
            ..
        } = &self.linking;
        let client = (self.target.connect(client, &self.pool, allowed_hosts)).await?;
        Ok(Connected {
            client,
            instance: None,
            put: BTreeMap::new(),
        })
    }

    /// Tells the runner to keep a model, and where its files are.
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

/// A model is put once to each instance of a runner, and again where it came to nothing: the runner
/// fetches it anew, by new signatures.
fn is_to_be_put(keep: &Keep, connected: &Connected, state: &RunnerState) -> bool {
    let Some((at, why)) = connected.put.get(&keep.name) else {
        return true;
    };
    let known = state.models.iter().find(|known| known.name == keep.name);
    let failed = why.is_some() || known.is_none_or(|known| known.failure.is_some());
    failed && at.elapsed() >= PUT_AGAIN_AFTER
}

/// What is said of a model that the runner could not even be told of.
fn not_kept(keep: &Keep, why: String) -> ModelState {
    ModelState {
        name: keep.name.clone(),
        task: super::wire::task(keep.task),
        revision: String::new(),
        ready: false,
        failure: Some(why),
    }
}
