//! Objects for tests.

use fovea_crds::{InferenceJob, InferenceJobSpec, Input, ResolvedPoolRef, Task};
use fovea_protocol::ModelState;
use jiff::Timestamp;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(crate) fn pool() -> ResolvedPoolRef {
    ResolvedPoolRef {
        name: "default".into(),
        namespace: "fovea-system".into(),
    }
}

pub(crate) fn job() -> InferenceJob {
    let key = "cat.jpg".into();
    let spec = InferenceJobSpec::new(Task::ImageToText, Input::Object { key });
    InferenceJob::new("cat", spec)
}

/// A model that its runner serves.
pub(crate) fn served(name: &str) -> ModelState {
    ModelState {
        name: name.into(),
        task: fovea_protocol::Task::ImageToText,
        revision: "r".into(),
        ready: true,
        failure: None,
    }
}
