//! The wire between operator and runner: one HTTP request per attempt, answered by NDJSON.
//!
//! Plain serde, no Kubernetes and no tensors. The operator turns an `InferenceJob` into an
//! [`InferRequest`]; the runner answers `POST /v1/infer` with a stream of [`Line`]s, one JSON
//! object a line: heartbeats and progress while it works, then exactly one result or problem.

mod infer;
mod problem;
mod runner;

pub use infer::{BoundingBox, Classification, Detection, InferResult, ServedModel};
pub use infer::{InferRequest, Input, Line, Parameters, Source, Stage, Task, Timings};
pub use problem::{PROBLEM_CONTENT_TYPE, Problem, Reason};
pub use runner::{Dtype, LeaderRequest, ModelFile, ModelRequest};
pub use runner::{ModelSource, ModelState, RunnerState};

use std::time::Duration;

/// A working runner sends a [`Line::Heartbeat`] this often.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// After this long without a line the operator gives the attempt up, and after this long
/// without a reader the runner drops the work: three heartbeats.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(6);

/// Content type of the answer to `POST /v1/infer`.
pub const NDJSON_CONTENT_TYPE: &str = "application/x-ndjson";

/// The longest line that an operator reads; what is longer is a broken runner.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// The largest request body that a runner reads (64 KiB of inline picture as base64, and room).
pub const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// `POST`: run one attempt.
pub const INFER_PATH: &str = "/v1/infer";

/// `GET`: what the runner keeps resident and how much of it is busy ([`RunnerState`]).
pub const MODELS_PATH: &str = "/v1/models";

/// Below it, by its name, `PUT`: a model that the runner is to keep ([`ModelRequest`]).
pub const MODEL_PATH: &str = "/v1/models/{name}";

/// The largest body of a `PUT` of a model: 64 files with their presigned URLs, and room.
pub const MAX_MODEL_REQUEST_BYTES: usize = 512 * 1024;

/// `PUT`: a new leader says its epoch before it dispatches ([`LeaderRequest`]).
pub const LEADER_PATH: &str = "/v1/leader";
