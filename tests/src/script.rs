//! The script in a job's picture for the scripted runner.
//!
//! One line per attempt, the last one for all that follow. The words of a line are executed in order, as in
//! `wait 1500 caption a cat`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fovea_protocol::{InferRequest, Reason, Source};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `caption WORDS`: a result.
    Caption(String),
    /// `labels N`: a classification of so many labels, 60 bytes each.
    Labels(usize),
    /// `problem Reason` or `problem Reason permanent`.
    Problem(Reason, bool),
    /// `busy`: 503, as of a runner without a free slot.
    Busy,
    /// `garbage`: a line that is not of the protocol.
    Garbage,
    /// `html`: a page with status 200, as of a proxy between.
    Html,
    /// `endless`: a line that does not end.
    Endless,
    /// `short`: fewer bytes than the answer's length said.
    Short,
    /// `close`: the connection breaks.
    Close,
    /// `silent`: nothing more, not even heartbeats.
    Silent,
    /// `crash`: the runner breaks all its connections and comes back as another instance.
    Crash,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Time with heartbeats before `answer`.
    pub wait: Duration,
    pub answer: Answer,
}

impl Script {
    /// The script of this attempt; a caption at once where the picture holds none.
    pub fn of(request: &InferRequest) -> Self {
        let text = match &request.input.source {
            Source::Url(_) => String::new(),
            Source::Data(data) => BASE64_STANDARD
                .decode(data)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .unwrap_or_default(),
        };
        let index = request.attempt.saturating_sub(1) as usize;
        let line = text.lines().nth(index).or_else(|| text.lines().last());
        Self::parse(line.unwrap_or_default())
    }

    fn parse(line: &str) -> Self {
        let mut wait = Duration::ZERO;
        let mut rest = line.trim();
        if let Some((millis, after)) = rest
            .strip_prefix("wait ")
            .map(|after| after.split_once(' ').unwrap_or((after, "")))
        {
            wait = Duration::from_millis(millis.parse().expect("wait MILLISECONDS"));
            rest = after;
        }
        let (word, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        let answer = match word {
            "caption" => Answer::Caption(argument.to_owned()),
            "labels" => Answer::Labels(argument.parse().expect("labels COUNT")),
            "problem" => {
                let (reason, permanent) = argument.split_once(' ').unwrap_or((argument, ""));
                let reason = serde_json::from_value(reason.into()).expect("a reason's name");
                Answer::Problem(reason, permanent == "permanent")
            }
            "busy" => Answer::Busy,
            "garbage" => Answer::Garbage,
            "html" => Answer::Html,
            "endless" => Answer::Endless,
            "short" => Answer::Short,
            "close" => Answer::Close,
            "silent" => Answer::Silent,
            "crash" => Answer::Crash,
            // Nothing, or a real picture.
            _ => Answer::Caption("a scripted caption".to_owned()),
        };
        Self { wait, answer }
    }
}
