//! The request of an attempt: sends it, reads the answer line by line, and returns the outcome.

use super::wire;
use crate::job::retry::{Outcome, Success};
use bytes::Bytes;
use fovea_crds::Task;
use fovea_protocol::{InferRequest, Line, MAX_LINE_BYTES, Problem, Reason, SILENCE_LIMIT, Stage};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

/// Time after the attempt's deadline in which the runner may still report it.
const DEADLINE_GRACE: Duration = Duration::from_secs(5);

/// Upper bound on a problem document; the rest is not read.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;

/// Upper bound on the part of a runner's answer that a failure quotes.
const MAX_EXCERPT_CHARS: usize = 200;

/// Sends `request` and reads its answer to the end, within its deadline. `stage` follows the runner's
/// progress.
pub(super) async fn run(
    call: reqwest::RequestBuilder,
    task: Task,
    request: &InferRequest,
    stage: &watch::Sender<Stage>,
) -> Outcome {
    let limit = Duration::from_millis(request.deadline_millis) + DEADLINE_GRACE;
    match timeout(limit, converse(call.json(request), task, stage)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Problem(Problem::new(
            Reason::DeadlineExceeded,
            "the attempt took longer than spec.attemptDeadlineSeconds",
        )),
    }
}

/// Why a runner's answer has no further line.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The request did not begin: the runner had no free slot or was unreachable.
    NotBegun(String),
    /// The runner stopped answering, or its connection broke.
    Lost(String),
    /// The runner's problem, or that its answer makes no sense.
    Problem(Problem),
}

impl From<NoAnswer> for Outcome {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NotBegun(why) => Self::NotBegun(why),
            NoAnswer::Lost(why) => Self::Lost(why),
            NoAnswer::Problem(problem) => problem.into(),
        }
    }
}

async fn converse(
    call: reqwest::RequestBuilder,
    task: Task,
    stage: &watch::Sender<Stage>,
) -> Outcome {
    let answer = match begin(call).await {
        Ok(answer) => answer,
        Err(none) => return none.into(),
    };
    if answer.status() == reqwest::StatusCode::OK {
        match read_lines(answer, task, stage).await {
            Ok(outcome) => outcome,
            Err(none) => none.into(),
        }
    } else {
        refused(answer).await.into()
    }
}

/// Sends a request and waits for the head of its answer.
pub(super) async fn begin(call: reqwest::RequestBuilder) -> Result<reqwest::Response, NoAnswer> {
    match timeout(SILENCE_LIMIT, call.send()).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_connect() => Err(NoAnswer::NotBegun(cause(&error))),
        Ok(Err(error)) => Err(NoAnswer::Lost(cause(&error))),
        Err(_) => Err(silent()),
    }
}

/// The lines of an answer.
pub(super) type Lines =
    FramedRead<StreamReader<BoxStream<'static, std::io::Result<Bytes>>, Bytes>, LinesCodec>;

pub(super) fn lines(answer: reqwest::Response) -> Lines {
    let bytes = answer.bytes_stream().map_err(std::io::Error::other).boxed();
    let codec = LinesCodec::new_with_max_length(MAX_LINE_BYTES);
    FramedRead::new(StreamReader::new(bytes), codec)
}

/// The next line, which has to come within [`SILENCE_LIMIT`].
pub(super) async fn next_line<T: DeserializeOwned>(lines: &mut Lines) -> Result<T, NoAnswer> {
    let line = match timeout(SILENCE_LIMIT, lines.next()).await {
        Ok(Some(Ok(line))) => line,
        Ok(Some(Err(LinesCodecError::MaxLineLengthExceeded))) => {
            let what = format!("a line longer than {MAX_LINE_BYTES} bytes");
            return Err(nonsense(&what));
        }
        Ok(Some(Err(LinesCodecError::Io(error)))) => {
            return Err(NoAnswer::Lost(error.to_string()));
        }
        Ok(None) => {
            let why = "the answer ended without a result";
            return Err(NoAnswer::Lost(why.to_owned()));
        }
        Err(_) => return Err(silent()),
    };
    serde_json::from_str(&line).map_err(|_| nonsense(&excerpt(&line)))
}

async fn read_lines(
    answer: reqwest::Response,
    task: Task,
    stage: &watch::Sender<Stage>,
) -> Result<Outcome, NoAnswer> {
    let mut lines = lines(answer);
    loop {
        match next_line(&mut lines).await? {
            Line::Heartbeat => {}
            Line::Progress { stage: reached } => {
                stage.send_replace(reached);
            }
            Line::Result {
                result,
                model,
                timings,
                answered,
            } => {
                let answered = answered.map(|answered| {
                    Box::new(wire::answer(answered, result.clone(), model.clone()))
                });
                let cost_micros = timings.cost_micros;
                return match wire::result(task, result) {
                    Some(result) => Ok(Outcome::Succeeded(Success {
                        result,
                        model: wire::served_model(model),
                        timings: wire::timings(timings),
                        reused: false,
                        answered,
                        cost_micros,
                    })),
                    None => Err(nonsense("the result of another task")),
                };
            }
            Line::Problem(problem) => return Ok(problem.into()),
        }
    }
}

/// Reads the problem document of a runner that did not begin.
pub(super) async fn refused(mut answer: reqwest::Response) -> NoAnswer {
    let status = answer.status();
    let mut body = Vec::new();
    while body.len() < MAX_PROBLEM_BYTES {
        match timeout(SILENCE_LIMIT, answer.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return NoAnswer::Lost(cause(&error)),
            Err(_) => return silent(),
        }
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => NoAnswer::Problem(problem),
        Err(_) if status == reqwest::StatusCode::SERVICE_UNAVAILABLE => {
            NoAnswer::NotBegun("the runner has no free slot".to_owned())
        }
        Err(_) => nonsense(&format!(
            "HTTP {status}: {}",
            excerpt(&String::from_utf8_lossy(&body))
        )),
    }
}

fn silent() -> NoAnswer {
    NoAnswer::Lost(format!("no line for {} s", SILENCE_LIMIT.as_secs()))
}

fn nonsense(what: &str) -> NoAnswer {
    NoAnswer::Problem(Problem::new(
        Reason::Unknown,
        format!("the runner answered {what}"),
    ))
}

pub(super) fn excerpt(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_EXCERPT_CHARS)
        .collect()
}

/// The innermost cause of an error, without the URL, which does not belong in a status.
fn cause(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut text = "the connection failed".to_owned();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}
