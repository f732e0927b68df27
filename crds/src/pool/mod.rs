//! `RunnerPool`: which models run where, and who may use them.

mod model;
mod rules;
mod spec;
mod status;
mod template;

pub use model::{Dtype, ModelSource, PoolModel, PullPolicy, SecretRef};
pub use spec::{
    AllowedNamespaces, Autoscaling, Device, External, Fairness, FromNamespaces, RunnerPool,
    RunnerPoolSpec,
};
pub use status::{ModelStatus, RunnerPoolStatus};
pub use template::{CacheVolume, EnvVar, PodResourceClaim, RunnerTemplate};
