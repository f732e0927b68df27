//! The request of an attempt: sends it, reads the answer line by line, and returns the outcome.

use super::wire;
use crate::job::retry::{Outcome, Success};
use fovea_crds::Task;
use fovea_protocol::{InferRequest, Line, MAX_LINE_BYTES, Problem, Reason, SILENCE_LIMIT, Stage};
use futures::TryStreamExt;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_stream::StreamExt;
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

async fn converse(
    call: reqwest::RequestBuilder,
    task: Task,
    stage: &watch::Sender<Stage>,
) -> Outcome {
    let answer = match timeout(SILENCE_LIMIT, call.send()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.is_connect() => {
            return Outcome::NotBegun(cause(&error));
        }
        Ok(Err(error)) => {
            return Outcome::Lost(cause(&error));
        }
        Err(_) => return silent(),
    };
    if answer.status() == reqwest::StatusCode::OK {
        read_lines(answer, task, stage).await
    } else {
        refused(answer).await
    }
}

async fn read_lines(
    answer: reqwest::Response,
    task: Task,
    stage: &watch::Sender<Stage>,
) -> Outcome {
    let bytes = StreamReader::new(answer.bytes_stream().map_err(std::io::Error::other));
    let mut lines = FramedRead::new(bytes, LinesCodec::new_with_max_length(MAX_LINE_BYTES));
    loop {
        let line = match timeout(SILENCE_LIMIT, lines.next()).await {
            Ok(Some(Ok(line))) => line,
            Ok(Some(Err(LinesCodecError::MaxLineLengthExceeded))) => {
                return nonsense(&format!("a line longer than {MAX_LINE_BYTES} bytes"));
            }
            Ok(Some(Err(LinesCodecError::Io(error)))) => {
                return Outcome::Lost(error.to_string());
            }
            Ok(None) => {
                return Outcome::Lost("the answer ended without a result".to_owned());
            }
            Err(_) => return silent(),
        };
        match serde_json::from_str::<Line>(&line) {
            Ok(Line::Heartbeat) => {}
            Ok(Line::Progress { stage: reached }) => {
                stage.send_replace(reached);
            }
            Ok(Line::Result {
                result,
                model,
                timings,
            }) => {
                return match wire::result(task, result) {
                    Some(result) => Outcome::Succeeded(Success {
                        result,
                        model: wire::served_model(model),
                        timings: wire::timings(timings),
                    }),
                    None => nonsense("the result of another task"),
                };
            }
            Ok(Line::Problem(problem)) => return problem.into(),
            Err(_) => return nonsense(&excerpt(&line)),
        }
    }
}

/// Reads the problem document of a runner that did not begin.
async fn refused(mut answer: reqwest::Response) -> Outcome {
    let status = answer.status();
    let mut body = Vec::new();
    while body.len() < MAX_PROBLEM_BYTES {
        match timeout(SILENCE_LIMIT, answer.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => {
                return Outcome::Lost(cause(&error));
            }
            Err(_) => return silent(),
        }
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => problem.into(),
        Err(_) if status == reqwest::StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::NotBegun("the runner has no free slot".to_owned())
        }
        Err(_) => nonsense(&format!(
            "HTTP {status}: {}",
            excerpt(&String::from_utf8_lossy(&body))
        )),
    }
}

fn silent() -> Outcome {
    Outcome::Lost(format!("no line for {} s", SILENCE_LIMIT.as_secs()))
}

fn nonsense(what: &str) -> Outcome {
    Outcome::Problem(Problem::new(
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
