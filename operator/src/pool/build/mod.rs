//! Builds a pool's objects, one kind per file. Pure.
//!
//! Specs are destructured without `..`, so that new fields must be considered here.

pub(crate) mod deployment;
pub(crate) mod disruption_budget;
pub(crate) mod import_job;
pub(crate) mod names;
pub(crate) mod network_policy;
mod pod;
mod proxy;
mod quantity;
mod restricted;
pub(crate) mod secret;
pub(crate) mod service;
#[cfg(test)]
mod tests;
pub(crate) mod volumes;

use super::PoolKey;
use super::config::PoolsConfig;
use fovea_crds::{RunnerPool, RunnerPoolSpec};
use fovea_proxy::Proxies;
use fovea_store::{Endpoint, StoreConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource as _, ResourceExt as _};
use std::collections::BTreeMap;

/// Our containers: a runner's and an import's.
pub(crate) const CONTAINERS: [&str; 2] = [pod::CONTAINER, import_job::CONTAINER];
pub(crate) const PORT: u16 = 9400;
const PORT_NAME: &str = "https";

/// The installation's settings for every pool's objects.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub config: PoolsConfig,
    pub operator_namespace: String,
    pub store_ports: Vec<u16>,
    pub hub_port: u16,
    /// The operator's own.
    pub proxies: Proxies,
    /// Whether runners reach the store through one of them.
    pub store_is_proxied: bool,
    /// Whether the store has authorities of its own.
    pub store_authorities: bool,
}

impl Build {
    pub(crate) fn new(
        config: PoolsConfig,
        namespace: &str,
        store: &StoreConfig,
        proxies: Proxies,
    ) -> Self {
        let port = |url: &Endpoint| url.as_url().port_or_known_default().unwrap_or(443);
        let store_ports = if config.store_ports.is_empty() {
            vec![store.endpoint.as_ref().map_or(443, port)]
        } else {
            config.store_ports.clone()
        };
        Self {
            hub_port: config.hub_endpoint.as_ref().map_or(443, port),
            operator_namespace: namespace.to_owned(),
            store_ports,
            store_is_proxied: proxy::is_before(store, &proxies),
            proxies,
            store_authorities: store.ca_file.is_some(),
            config,
        }
    }
}

/// The pool whose objects are built.
#[derive(Clone, Debug)]
pub(crate) struct Subject<'a> {
    pub key: PoolKey,
    pub uid: String,
    pub spec: &'a RunnerPoolSpec,
    pub child: String,
}

impl<'a> Subject<'a> {
    pub(crate) fn of(pool: &'a RunnerPool) -> Self {
        Self {
            key: super::key_of(pool),
            uid: pool.uid().unwrap_or_default(),
            spec: &pool.spec,
            child: names::child(&pool.name_any()),
        }
    }

    pub(crate) fn selector(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(names::POOL.to_owned(), names::label(&self.key.name))])
    }

    pub(crate) fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.child.clone()),
            namespace: Some(self.key.namespace.clone()),
            labels: Some(names::labels(&self.key.name)),
            owner_references: Some(vec![self.owner(true)]),
            ..ObjectMeta::default()
        }
    }

    /// Deletes the object with the pool, without blocking the pool's deletion.
    pub(crate) fn owner(&self, controller: bool) -> OwnerReference {
        OwnerReference {
            api_version: RunnerPool::api_version(&()).into_owned(),
            kind: RunnerPool::kind(&()).into_owned(),
            name: self.key.name.clone(),
            uid: self.uid.clone(),
            controller: Some(controller),
            block_owner_deletion: Some(false),
        }
    }
}
