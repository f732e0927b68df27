//! The RunnerPools of the operator's pool namespaces, cached for a second.

use crate::error::Problem;
use crate::jobs::unavailable;
use fovea_crds::{FromNamespaces, RunnerPool};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, Selector, SelectorExt as _};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Lifetime of the cached pools; the operator writes a pool's status every two seconds.
const LIFETIME: Duration = Duration::from_secs(1);
/// Maximum number of pools shown per namespace, by name.
const MAX_POOLS: u32 = 500;

pub(crate) struct Pools {
    apis: Vec<Api<DeserializeGuard<RunnerPool>>>,
    timeout: Duration,
    /// The lock is held during a read, so that concurrent callers share it.
    latest: Mutex<Option<(Instant, Arc<Vec<RunnerPool>>)>>,
}

impl Pools {
    pub(crate) fn new(client: &Client, timeout: Duration, namespaces: &[String]) -> Self {
        let api = |namespace: &String| Api::namespaced(client.clone(), namespace);
        Self {
            apis: namespaces.iter().map(api).collect(),
            timeout,
            latest: Mutex::default(),
        }
    }

    /// All pools, by namespace and name, at most `LIFETIME` old.
    pub(crate) async fn all(&self) -> Result<Arc<Vec<RunnerPool>>, Problem> {
        let mut latest = self.latest.lock().await;
        if let Some((at, pools)) = &*latest
            && at.elapsed() < LIFETIME
        {
            return Ok(Arc::clone(pools));
        }
        let mut pools = Vec::new();
        // The API server's own cache is fresh enough.
        let params = ListParams::default().limit(MAX_POOLS).match_any();
        for api in &self.apis {
            let list = timeout(self.timeout, api.list(&params)).await;
            let list = list
                .map_err(|_| unavailable("no answer in time"))?
                .map_err(|error| match &error {
                    kube::Error::Api(status) if status.code == 403 => Problem::internal(error),
                    _ => unavailable(error),
                })?;
            // The operator reports a pool that does not decode to its owner.
            pools.extend(
                list.items
                    .into_iter()
                    .filter_map(|DeserializeGuard(pool)| pool.ok()),
            );
        }
        let pools = Arc::new(pools);
        *latest = Some((Instant::now(), Arc::clone(&pools)));
        Ok(pools)
    }
}

/// Whether `pool` accepts jobs of a namespace with these labels. An invalid or missing selector
/// selects nothing.
pub(crate) fn allows(
    pool: &RunnerPool,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    let allowed = &pool.spec.allowed_namespaces;
    let selects = |selector: &LabelSelector| {
        Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
    };
    match allowed.from {
        FromNamespaces::All => true,
        FromNamespaces::Same => pool.metadata.namespace.as_deref() == Some(namespace),
        FromNamespaces::Selector => allowed.selector.as_ref().is_some_and(selects),
    }
}
