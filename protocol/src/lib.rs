//! Protocol between operator and runner: one HTTP request per attempt, answered with NDJSON.
//!
//! Plain serde, no Kubernetes and no tensors. The operator turns an `InferenceJob` into an
//! [`InferRequest`]; the runner answers `POST /v1/infer` with a stream of [`Line`]s, one JSON
//! object a line: heartbeats and progress while it works, then exactly one result or problem.

mod infer;
mod problem;
mod reuse;
mod runner;
mod shard;

pub use infer::{Answered, InferRequest, Input, Line, Parameters, Source, Stage, Task, Timings};
pub use infer::{BoundingBox, Classification, Detection, InferResult, ServedModel};
pub use problem::{PROBLEM_CONTENT_TYPE, Problem, Reason};
pub use reuse::{Answer, Question, answer_line, answer_of};
pub use runner::{Dtype, LeaderRequest, ModelFile, ModelRequest};
pub use runner::{ModelSource, ModelState, RunnerState};
pub use shard::{Item, Order, Part, PartFile, PartFormat, Progress, Row, RowError, ShardLine};
pub use shard::{ShardOf, ShardRequest, Upload};

use std::time::Duration;

/// Interval between [`Line::Heartbeat`]s of a working runner.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// Time without a line after which the operator ends the attempt, and time without a reader after
/// which the runner stops the work: three heartbeats.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(6);

/// Validity of [`Source::Url`] from the request's dispatch, however long the attempt may take. A runner
/// sends the GET when the request arrives, before the picture waits for a device; a GET that has begun
/// may outlast the URL.
pub const URL_LIFETIME: Duration = Duration::from_mins(5);

/// Content type of the answer to `POST /v1/infer`.
pub const NDJSON_CONTENT_TYPE: &str = "application/x-ndjson";

/// Maximum length of a line. The operator treats a runner that sends a longer one as faulty.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Maximum body of an [`InferRequest`]: 64 KiB of inline picture as base64, and a margin.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// Path of the `POST` request that runs one attempt.
pub const INFER_PATH: &str = "/v1/infer";

/// Extensions of pictures' names, in any case: what of a prefix or of an archive is a picture.
pub const PICTURE_EXTENSIONS: [&str; 10] = [
    "jpg", "jpeg", "jpe", "png", "gif", "bmp", "tif", "tiff", "ico", "webp",
];

/// Extensions, in any case, of the members of an archive that belong to the picture with the same stem: JSON, and
/// texts.
pub const SIDECAR_EXTENSIONS: [&str; 3] = ["json", "txt", "cls"];

/// Path of the `POST` request that runs one attempt at a shard of a batch; see [`Order`].
pub const SHARDS_PATH: &str = "/v1/shards";

/// Maximum number of items in an [`Order::Items`], so that their URLs fit into a line.
pub const MAX_WINDOW: u32 = 128;

/// Bound on the rows of a part as JSON Lines, in bytes. A runner ends the part before it.
pub const MAX_PART_BYTES: u64 = 64 * 1024 * 1024;

/// Path of the `POST` request that says which question an [`InferRequest`] asks; see [`Question`].
pub const QUESTIONS_PATH: &str = "/v1/questions";

/// Maximum number of questions in a [`ShardLine::Ask`], so that their answers fit into a line.
pub const MAX_QUESTIONS: usize = 64;

/// Bound on a question with its answer, in bytes. A longer answer is not kept.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024;
const _: () = assert!(MAX_QUESTIONS * MAX_ANSWER_BYTES < MAX_LINE_BYTES);

/// `GET` returns the runner's models and load ([`RunnerState`]).
pub const MODELS_PATH: &str = "/v1/models";

/// `PUT` makes the runner load a model ([`ModelRequest`]).
pub const MODEL_PATH: &str = "/v1/models/{name}";

/// Maximum body of a [`ModelRequest`]: 64 files with their presigned URLs, and a margin.
pub const MAX_MODEL_REQUEST_BYTES: usize = 512 * 1024;

/// `PUT` announces a new leader's epoch, before it dispatches jobs ([`LeaderRequest`]).
pub const LEADER_PATH: &str = "/v1/leader";
