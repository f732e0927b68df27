//! The clients of the Kubernetes API server, and a cache of namespaces' uids and labels.

use crate::config::TimeoutsConfig;
use crate::metrics::Metrics;
use fovea_cluster::{
    NamespaceError, NamespaceFacts, READ_LIMIT, UID_LIFETIME, kube_config, read_namespace,
};
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::Client;
use kube::client::ClientBuilder;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tower::limit::ConcurrencyLimitLayer;

/// Longest TCP and TLS handshake with the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Age of a cached uid at which one request reads it again, while the others still use it.
const RENEW_AFTER: Duration = Duration::from_secs(1);
/// Maximum number of cached namespaces; beyond it the cache is cleared, which costs one read each.
const MAX_NAMESPACES: usize = 10_000;
/// This program's name in audit logs and `managedFields`.
const AGENT: &str = concat!("fovea-api/", env!("CARGO_PKG_VERSION"));

/// Two clients of one API server, with different timeouts for requests and for silent watches.
#[derive(Clone)]
pub struct Clients {
    /// For requests, each bounded in time.
    pub requests: Client,
    /// For watches, which may be silent for long.
    pub watches: Client,
}

/// Connects by the pod's service account or `KUBECONFIG`. Sends no request yet. At most `max_requests` are sent at a
/// time, beside watches; further ones wait for as long as their deadlines let them.
pub async fn connect(
    timeouts: &TimeoutsConfig,
    max_requests: usize,
    metrics: &Metrics,
) -> anyhow::Result<Clients> {
    let mut config = kube_config().await?;
    (config.headers).push((USER_AGENT, HeaderValue::from_static(AGENT)));
    let mut watching = config.clone();
    watching.connect_timeout = Some(CONNECT_TIMEOUT);
    watching.read_timeout = Some(READ_LIMIT);
    watching.reset_reader_on_write = true;
    Ok(Clients {
        requests: client(config, timeouts, max_requests, metrics)?,
        watches: Client::try_from(watching)?,
    })
}

/// A client that bounds every request and never retries one: only `submit` decides whether a create
/// may be repeated.
pub fn client(
    mut config: kube::Config,
    timeouts: &TimeoutsConfig,
    max_requests: usize,
    metrics: &Metrics,
) -> anyhow::Result<Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(timeouts.kube());
    config.reset_reader_on_write = true;
    config.write_timeout = Some(timeouts.kube());
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&metrics.upstreams().layer())
        .with_layer(&ConcurrencyLimitLayer::new(max_requests))
        .build())
}

/// The uids and labels of namespaces, by name.
pub(crate) struct Namespaces {
    client: Client,
    timeout: Duration,
    cached: Mutex<HashMap<String, Cached>>,
}

struct Cached {
    facts: Arc<NamespaceFacts>,
    /// When their read began.
    since: Instant,
    renewing: bool,
}

impl Namespaces {
    pub(crate) fn new(client: Client, timeout: Duration) -> Self {
        Self {
            client,
            timeout,
            cached: Mutex::default(),
        }
    }

    /// The uid of the namespace `name`, at most [`UID_LIFETIME`] old.
    pub(crate) async fn uid(&self, name: &str) -> Result<String, NamespaceError> {
        Ok(self.facts(name).await?.uid.clone())
    }

    /// The uid and labels of the namespace `name`, at most [`UID_LIFETIME`] old.
    pub(crate) async fn facts(&self, name: &str) -> Result<Arc<NamespaceFacts>, NamespaceError> {
        if let Some(facts) = self.remembered(name) {
            return Ok(facts);
        }
        let since = Instant::now();
        let facts = Arc::new(read_namespace(&self.client, name, self.timeout).await?);
        if facts.is_being_deleted {
            return Ok(facts);
        }
        let mut cached = self
            .cached
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if cached.len() >= MAX_NAMESPACES {
            cached.clear();
        }
        let read = Cached {
            facts: Arc::clone(&facts),
            since,
            renewing: false,
        };
        cached.insert(name.to_owned(), read);
        Ok(facts)
    }

    /// The cached facts; `None` if the caller is to read them.
    fn remembered(&self, name: &str) -> Option<Arc<NamespaceFacts>> {
        let mut cached = self
            .cached
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let cached = cached.get_mut(name)?;
        let age = cached.since.elapsed();
        if age >= UID_LIFETIME || (age >= RENEW_AFTER && !cached.renewing) {
            cached.renewing = true;
            return None;
        }
        Some(Arc::clone(&cached.facts))
    }
}
