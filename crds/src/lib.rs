//! The custom resources of Fovea, group `fovea.dev/v1alpha1`: [`InferenceJob`] and [`RunnerPool`].
//!
//! The Rust types are the source. `crdgen` writes `manifests/crds/*.yaml` from them: doc comments
//! become descriptions, `#[schemars]` the bounds, `#[x_kube]` the CEL rules, which speak to
//! the user. Defaults are Rust functions, so what the API server fills in is what the
//! programs read. [`bounds`] names every number, and [`clip`] keeps what the operator writes
//! inside them.

pub mod bounds;
pub mod clip;
pub mod conditions;
#[allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "KubeSchema copies structs into functions, and printer columns share types"
)]
mod job;
mod marks;
#[allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "KubeSchema copies structs into functions, and printer columns share types"
)]
mod pool;
mod rules;
mod schema;
pub mod yaml;

pub use job::{
    BoundingBox, Callback, CallbackStatus, Detection, Failure, InferenceJob, InferenceJobSpec,
    InferenceJobStatus, Input, JobResult, Parameters, Phase, PoolRef, Prediction, ResolvedPoolRef,
    Retry, ServedModel, Task, Timings, UnknownTask,
};
pub use marks::{annotations, labels};
pub use pool::{
    AllowedNamespaces, Autoscaling, CacheVolume, Device, Dtype, EnvVar, External, Fairness,
    FromNamespaces, ModelSource, ModelStatus, PoolModel, RunnerPool, RunnerPoolSpec,
    RunnerPoolStatus, RunnerTemplate, SecretRef,
};

/// Manager name of the jobs that Fovea's own operator runs; a job whose `spec.managedBy` says
/// another one is left alone.
pub const MANAGER: &str = "fovea.dev/operator";
