//! Answers that were given before, for jobs with `spec.reuse`.
//!
//! A *question* is a SHA-256 in lower-case hexadecimal over everything that decides an answer: the picture's
//! bytes, the task, the model with its revision, data type and settings, the parameters with their defaults,
//! and the version of the runner's preprocessing. Only the runner can make one. The operator knows which
//! questions have been answered in which namespace.

use crate::{InferResult, ServedModel};
use serde::{Deserialize, Serialize};

/// Answer to `POST /v1/questions`, whose body is an [`crate::InferRequest`]. Nothing is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The question that the request asks.
    pub question: String,
}

/// What is kept of a picture that was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Result in the form of the task.
    pub result: InferResult,
    /// Model that produced the result.
    pub model: ServedModel,
    /// Width of the upright picture in pixels.
    pub width: u32,
    /// Height of the upright picture in pixels.
    pub height: u32,
}

/// A question and its answer, as one line of an object: the question, a space, the answer as JSON, a line feed.
/// `None` if the line would be longer than [`crate::MAX_ANSWER_BYTES`].
pub fn answer_line(question: &str, answer: &Answer) -> Option<String> {
    let json = serde_json::to_string(answer).ok()?;
    let line = format!("{question} {json}\n");
    (line.len() <= crate::MAX_ANSWER_BYTES).then_some(line)
}

/// The answer in a line that [`answer_line`] made for this question; `None` for any other text.
pub fn answer_of(question: &str, line: &[u8]) -> Option<Answer> {
    let json = line.strip_prefix(question.as_bytes())?.strip_prefix(b" ")?;
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(caption: &str) -> Answer {
        Answer {
            result: InferResult::Caption(caption.to_owned()),
            model: ServedModel {
                name: "blip".to_owned(),
                revision: "r".to_owned(),
            },
            width: 4,
            height: 3,
        }
    }

    #[test]
    fn an_answer_is_read_back_for_its_own_question_only() {
        let (question, other) = ("a".repeat(64), "b".repeat(64));
        let line = answer_line(&question, &answer("a \"cat\"\n")).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let read = answer_of(&question, line.as_bytes());
        assert_eq!(read, Some(answer("a \"cat\"\n")));
        assert_eq!(answer_of(&other, line.as_bytes()), None);
        assert_eq!(answer_of(&question, &line.as_bytes()[..90]), None);
        assert_eq!(answer_of(&question, b""), None);
    }

    #[test]
    fn a_long_answer_is_not_kept() {
        let long = answer(&"x".repeat(crate::MAX_ANSWER_BYTES));
        assert_eq!(answer_line(&"a".repeat(64), &long), None);
    }
}
