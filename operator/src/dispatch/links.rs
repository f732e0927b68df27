//! One link per external endpoint: it learns the token, tells the runner who leads, and asks
//! again and again what the runner serves.

use super::fleet::Health;
use super::runners::{RunnerClient, RunnerError};
use crate::pool::{PoolKey, external};
use fovea_crds::External;
use fovea_protocol::{LeaderRequest, RunnerState};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// How often a runner is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A runner has been asked.
#[derive(Debug)]
pub(super) struct Report {
    /// Its pool.
    pub pool: PoolKey,
    /// Its endpoint, as the pool's spec writes it.
    pub endpoint: String,
    /// What it said.
    pub health: Health,
}

/// What every link needs.
#[derive(Clone)]
pub(super) struct Linking {
    /// For the pools' Secrets.
    pub client: Client,
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
        external: &External,
        endpoint: &str,
    ) -> AbortOnDropHandle<()> {
        let link = Link {
            linking: self.clone(),
            pool: pool.clone(),
            external: external.clone(),
            endpoint: endpoint.to_owned(),
            connected: None,
        };
        AbortOnDropHandle::new(tokio::spawn(link.run()))
    }
}

struct Link {
    linking: Linking,
    pool: PoolKey,
    external: External,
    endpoint: String,
    /// The client, and the instance that has been told who leads.
    connected: Option<(RunnerClient, Option<String>)>,
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
        let (client, told) = match self.connected.take() {
            Some(connected) => connected,
            None => (self.connect().await?, None),
        };
        let say = |error: RunnerError| error.to_string();
        let mut state = client.state().await.map_err(say)?;
        if told.as_ref() != Some(&state.instance) {
            client.announce(&self.linking.leader).await.map_err(say)?;
            // Only what it says after the announcement counts: it has dropped older work by then.
            state = client.state().await.map_err(say)?;
        }
        self.connected = Some((client.clone(), Some(state.instance.clone())));
        Ok((client, state))
    }

    async fn connect(&self) -> Result<RunnerClient, String> {
        let url: Url = external::endpoint(&self.endpoint, &self.linking.allowed_hosts)
            .map_err(|e| e.to_string())?;
        let token = match &self.external.token_secret_ref {
            None => None,
            Some(named) => {
                let secret = self.secret(&named.name).await?;
                Some(external::token(&secret, &url).map_err(|error| error.to_string())?)
            }
        };
        let authority = match &self.external.ca_secret_ref {
            None => None,
            Some(named) => {
                let secret = self.secret(&named.name).await?;
                let pem = secret.data.and_then(|mut data| data.remove("ca.crt"));
                Some(
                    pem.ok_or_else(|| format!("Secret {:?} has no key \"ca.crt\"", named.name))?
                        .0,
                )
            }
        };
        RunnerClient::new(url, token, authority.as_deref()).map_err(|error| error.to_string())
    }

    async fn secret(&self, name: &str) -> Result<Secret, String> {
        let api: Api<Secret> = Api::namespaced(self.linking.client.clone(), &self.pool.namespace);
        api.get(name)
            .await
            .map_err(|error| format!("Secret {name:?}: {error}"))
    }
}
