//! Pools: which there are, whose jobs they take, and what their status tells.

pub mod autoscale;
pub mod external;
pub mod provision;
pub mod resolve;
pub(crate) mod status;
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
