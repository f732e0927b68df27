//! `InferenceJob`: one task, on one picture or on a batch of them.

mod batch;
mod clip;
mod facts;
mod input;
mod restored;
mod result;
mod rules;
mod spec;
mod status;
mod task;
mod watched;

pub use batch::{BatchOutput, Counts, Output, OutputFormat};
pub use facts::resource_version_is_older;
pub use input::{Input, Parameters};
pub use restored::RestoreMark;
pub use result::{BoundingBox, Detection, JobResult, Prediction};
pub use spec::{Callback, InferenceJob, InferenceJobSpec, PoolRef, Retry};
pub use status::{
    CallbackStatus, Failure, InferenceJobStatus, Phase, ResolvedPoolRef, ServedModel, Timings,
};
pub use task::{Task, UnknownTask};
pub use watched::WatchedJob;
