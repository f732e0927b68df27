//! The state that every handler shares, and how handlers extract a [`Tenant`] with it.

use crate::auth::{Auth, Tenant};
use crate::budget::Budget;
use crate::config::{Config, Files};
use crate::download::Downloads;
use crate::error::{Problem, ProblemType};
use crate::health::Checks;
use crate::jobs::{Jobs, Records, WatchScope};
use crate::kubernetes::{Clients, Namespaces};
use crate::metrics::Metrics;
use crate::pools::Pools;
use crate::responses::Responses;
use crate::shares::{Parties, Permit, Shares};
use crate::upload::Intake;
use crate::writes::Writes;
use axum::extract::FromRequestParts;
use fovea_store::Store;
use http::request::Parts;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The state that every handler shares.
pub struct App {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) auth: Auth,
    pub(crate) client: kube::Client,
    pub(crate) store: Store,
    pub(crate) budget: Budget,
    pub(crate) responses: Responses,
    /// Bounds the requests to the object store: each takes a connection. Downloads have a pool of their own.
    store_requests: Shares,
    pub(crate) jobs: Jobs,
    pub(crate) pools: Pools,
    pub(crate) downloads: Downloads,
    /// Bounds the jobs that are created and deleted at a time.
    pub(crate) writes: Writes,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) intake: Intake,
    pub(crate) checks: Checks,
    pub(crate) draining: CancellationToken,
}

impl App {
    /// Builds the state and starts the watch of jobs. Call it within a Tokio runtime.
    pub fn new(
        config: Config,
        files: Files,
        clients: Clients,
        store: Store,
        metrics: Arc<Metrics>,
    ) -> Self {
        let timeout = config.timeouts.kube();
        let budget = Budget::new(config.limits.memory_bytes);
        let scope = config.only_namespace().map_or(WatchScope::All, |only| {
            WatchScope::Namespace(only.to_owned())
        });
        let namespaces = Arc::new(Namespaces::new(clients.requests.clone(), timeout));
        let records = Records::new(store.clone(), Arc::clone(&namespaces), timeout, &metrics);
        let jobs = Jobs::start(
            &clients,
            timeout,
            scope,
            records,
            config.reads.max_waiters,
            &metrics,
            budget.clone(),
        );
        Self {
            responses: Responses::new(config.limits.memory_bytes, budget.clone(), &metrics),
            auth: Auth::new(&config, clients.requests.clone(), &metrics),
            pools: Pools::new(&clients.requests, timeout, &config.reads.pool_namespaces),
            downloads: Downloads::new(&config.reads, store.clone(), budget.clone(), &metrics),
            writes: Writes::new(config.limits.max_writes, timeout, &metrics),
            namespaces,
            intake: Intake::new(&config, budget.clone(), Arc::clone(&metrics)),
            checks: Checks::new(
                &config,
                &clients.requests,
                store.clone(),
                jobs.clone(),
                Arc::clone(&metrics),
            ),
            draining: CancellationToken::new(),
            config,
            client: clients.requests,
            store,
            budget,
            store_requests: Shares::new("store", files.outgoing, &metrics),
            jobs,
            metrics,
        }
    }

    /// A turn for requests to the object store, one after another.
    pub(crate) async fn store_turn(&self, parties: Parties) -> Result<Permit, Problem> {
        let patience = self.config.store.operation_timeout();
        let turn = self.store_requests.acquire(parties, patience).await;
        let (full, what) = (
            ProblemType::StoreUnavailable,
            "requests to the object store",
        );
        turn.map_err(|refused| refused.problem(full, what, 2))
    }

    /// Cancelled when the service stops: requests that wait for a job are then answered.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }
}

pub(crate) type AppState = Arc<App>;

impl FromRequestParts<AppState> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let tenant = app.auth.admit(parts).await?;
        let span = tracing::Span::current();
        span.record("namespace", &tenant.namespace);
        span.record("user", &tenant.user);
        Ok(tenant)
    }
}
