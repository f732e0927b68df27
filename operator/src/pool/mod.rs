//! Pools: which there are, whose jobs they take, and what their status tells.

mod access;
mod apply;
pub mod autoscale;
mod build;
mod caches;
pub mod config;
pub mod controller;
pub mod external;
mod import;
mod observe;
pub mod provision;
mod reconcile;
pub mod resolve;
mod rollout;
mod scale;
pub(crate) mod status;
mod validate;
pub mod weights;

use fovea_crds::{ResolvedPoolRef, RunnerPool};
use kube::ResourceExt;

/// Names a pool.
pub type PoolKey = ResolvedPoolRef;

/// The key of a pool object.
pub fn key_of(pool: &RunnerPool) -> PoolKey {
    PoolKey {
        name: pool.name_any(),
        namespace: pool.namespace().unwrap_or_default(),
    }
}
