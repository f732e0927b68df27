//! Runner pools: their objects in the cluster, the number of their runners, and their status.
//!
//! `controller` reconciles every pool. It receives `load`s from the dispatcher, which connects to
//! runners and counts jobs, and gives back `published` pools.

mod access;
pub(crate) mod applier;
pub(crate) mod authorities;
pub mod autoscale;
mod build;
mod caches;
pub(crate) mod config;
pub(crate) mod controller;
pub(crate) mod external;
mod import;
pub mod load;
mod message;
mod pods;
pub(crate) mod published;
mod reconcile;
pub(crate) mod resolve;
mod rollout;
mod scale;
mod starting;
mod validate;
pub(crate) use validate::SPEC_REFUSED;
pub(crate) mod weights;

use fovea_crds::{ResolvedPoolRef, RunnerPool};
use kube::ResourceExt;

/// A pool's name and namespace.
pub type PoolKey = ResolvedPoolRef;

pub(crate) fn key_of(pool: &RunnerPool) -> PoolKey {
    PoolKey {
        name: pool.name_any(),
        namespace: pool.namespace().unwrap_or_default(),
    }
}
