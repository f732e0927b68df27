//! The custom resources of Fovea, group `fovea.dev/v1alpha1`: [`InferenceJob`] and [`RunnerPool`].
//!
//! The Rust types are the source. `crdgen` writes `manifests/crds/*.yaml` from them: doc comments
//! become descriptions, `#[schemars]` attributes the bounds, and `#[x_kube]` attributes the CEL
//! rules. Defaults of a job's fields are the programs' (the API server would store and check them with every
//! job); those of a pool are in the schema, too, from the same Rust functions.
//! [`bounds`] names every bound, and [`clip`] cuts what the operator writes to them.

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
mod serde_default;
pub mod yaml;

pub use job::{
    BatchOutput, BoundingBox, Callback, CallbackStatus, Counts, Detection, Failure, InferenceJob,
    InferenceJobSpec, InferenceJobStatus, Input, JobResult, Output, OutputFormat, Parameters,
    Phase, PoolRef, Prediction, ResolvedPoolRef, RestoreMark, Retry, ServedModel, Task, Timings,
    UnknownTask, WatchedJob, resource_version_is_older,
};
pub use marks::{annotations, labels};
pub use pool::{
    AllowedNamespaces, Autoscaling, CacheVolume, Device, Dtype, EnvVar, External, Fairness,
    FromNamespaces, ModelSource, ModelStatus, PodResourceClaim, PoolModel, PullPolicy, RunnerPool,
    RunnerPoolSpec, RunnerPoolStatus, RunnerTemplate, SecretRef,
};

/// Value of `spec.managedBy` for Fovea's operator, which ignores jobs with another value.
pub const MANAGER: &str = "fovea.dev/operator";
