//! Request of one attempt at a shard of a batch, and the lines of both sides.
//!
//! `POST /v1/shards` is NDJSON in both directions at once. The operator sends an [`Order::Shard`] first, then
//! answers what the runner asks for: an [`Order::Items`] for each [`ShardLine::Want`], an [`Order::Part`] for
//! each [`ShardLine::Ready`]. URLs are signed when they are asked for, so none of them has to live longer than
//! its lifetime. With [`ShardRequest::reuse`] an [`Order::Answers`] answers each [`ShardLine::Ask`]. The runner ends with [`ShardLine::Done`] or [`ShardLine::Problem`].

use crate::{Answer, InferResult, Parameters, Problem, ServedModel, Task};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Line of the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    /// First line: the work.
    Shard(ShardRequest),
    /// Answer to a [`ShardLine::Want`].
    Items {
        /// Index of the first of them in the shard.
        first: u64,
        /// In the shard's order: as many as were asked for, or less at the shard's end.
        items: Vec<Item>,
        /// Time from now in which the URLs can be used.
        lifetime_millis: u64,
    },
    /// Answer to a [`ShardLine::Ready`]: where to write the part. The objects do not exist yet, or are
    /// another writer's, whose part counts then.
    Part {
        /// The rows in the batch's format; absent if that is JSON Lines. Written first.
        formatted: Option<Upload>,
        /// The rows as JSON Lines. Once this is written, the part counts.
        rows: Upload,
        /// The answers to be kept; absent if the part announces none. Written last, and of no consequence for
        /// the part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answers: Option<Upload>,
    },
    /// Answer to a [`ShardLine::Ask`].
    Answers {
        /// For each question, in their order, what was answered before.
        answers: Vec<Option<Answer>>,
    },
    /// Begin no further picture, and end with what is done.
    Finish,
}

/// An attempt at a range of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardRequest {
    /// Installation that sends the request; see [`crate::LeaderRequest::installation`].
    pub installation: String,
    /// Transition count of the sending leader's lease.
    pub epoch: u64,
    /// Uid of the `InferenceJob`.
    pub job: String,
    /// Number of the shard in the batch, from 0.
    pub shard: u32,
    /// Number of this attempt, from 1, over all shards of the job and of this leader: it only grows.
    pub attempt: u32,
    /// Task to run on the pictures.
    pub task: Task,
    /// Name of one of the runner's models, as the pool names it.
    pub model: String,
    /// Parameters of items that have none of their own.
    #[serde(default)]
    pub parameters: Parameters,
    /// Format of the part.
    pub format: PartFormat,
    /// What the shard consists of.
    pub of: ShardOf,
    /// Index of the range's first picture in the shard.
    pub from: u64,
    /// Index after the range's last picture; absent up to the end of an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Time from the arrival of the request after which the runner behaves as after [`Order::Finish`].
    pub finish_after_millis: u64,
    /// Time limit from the arrival of the request, after which the runner answers `DeadlineExceeded`.
    pub deadline_millis: u64,
    /// Whether each picture runs alone in its pass, because one of them may have crashed a runner before.
    #[serde(default)]
    pub exclusive: bool,
    /// Whether the runner asks for answers that were given before, and keeps new ones.
    #[serde(default)]
    pub reuse: bool,
}

/// Format of a part, beside its rows as JSON Lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartFormat {
    /// JSON Lines, one [`Row`] a line: nothing beside it.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// What a shard consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardOf {
    /// Pictures: each item is one, and has its index.
    Pictures,
    /// One tar archive: the only item, with index 0. Its pictures are counted in the archive's order; the index
    /// counts pictures only.
    Archive,
}

/// An item of a shard.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Key of the object, relative to `data/<namespace>/`. Empty for an item that has none.
    pub key: String,
    /// The user's name for the picture; the key if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Presigned URL to GET the object. It is secret until it expires. Absent with `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Size of the object in bytes, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Parameters of this picture in place of the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// The item has failed already: the runner only writes its row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RowError>,
}

impl std::fmt::Debug for Item {
    /// Omits the URL, which holds a signature.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ({:?} bytes)", self.key, self.bytes)
    }
}

/// A signed PUT of one object. It fails with 412 if the object exists.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// Presigned URL. It is secret until it expires.
    pub url: String,
    /// Headers that are signed, too, and have to be sent as they are.
    pub headers: BTreeMap<String, String>,
}

impl std::fmt::Debug for Upload {
    /// Omits the signature.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.url.split('?').next().unwrap_or_default())
    }
}

/// Line of the runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ShardLine {
    /// Sent at once and then every [`crate::HEARTBEAT_INTERVAL`].
    Heartbeat(Progress),
    /// Asks for items: at most [`crate::MAX_WINDOW`] of them. They may have been sent before, with URLs that
    /// have expired since.
    Want {
        /// Index of the first item in the shard.
        from: u64,
        /// Number of items.
        count: u32,
    },
    /// Asks for answers that were given before. The next one is sent after the operator's answer.
    Ask {
        /// At most [`crate::MAX_QUESTIONS`] of them.
        questions: Vec<String>,
    },
    /// The rows are complete: asks where to write them. Repeated if the answer's URLs have failed.
    Ready(Part),
    /// Last line of an attempt that has written a part.
    Done {
        /// The part, as it was announced.
        part: Part,
        /// Whether another writer's part was there already (412).
        exists: bool,
        /// Why the range is not done to its end; absent if it is, or after [`Order::Finish`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stopped: Option<Problem>,
        /// As [`Progress::cost_micros`], of the whole attempt.
        #[serde(
            default,
            rename = "costMicros",
            skip_serializing_if = "Option::is_none"
        )]
        cost_micros: Option<u64>,
    },
    /// Last line of an attempt that has written nothing.
    Problem(Problem),
}

/// How far an attempt at a shard has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Pictures with a result.
    pub succeeded: u64,
    /// Pictures without a result.
    pub failed: u64,
    /// Index after the last picture that was begun, or the range's first.
    pub begun: u64,
    /// Pictures with a result that was given before.
    #[serde(default)]
    pub reused: u64,
    /// Time of the runner that the attempt has used so far, summed over its pictures; see
    /// [`crate::Timings::cost_micros`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

/// The rows of the range `from..to` of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Index of the first picture in the shard.
    pub from: u64,
    /// Index after the last picture.
    pub to: u64,
    /// Whether the shard ends there.
    pub end: bool,
    /// Rows with a result.
    pub succeeded: u64,
    /// Rows with an error.
    pub failed: u64,
    /// Members of the archive, in the range, that are not pictures by their names and belong to none.
    pub skipped: u64,
    /// The rows as JSON Lines.
    pub rows: PartFile,
    /// The rows in the batch's format; absent if that is JSON Lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formatted: Option<PartFile>,
    /// Rows with a result that was given before.
    #[serde(default)]
    pub reused: u64,
    /// New answers, a line for each as by [`crate::answer_line`]; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<PartFile>,
}

/// Size and digest of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartFile {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// The row of one picture in a batch's output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The user's name for the picture; in an archive, the member's name; otherwise the key.
    pub id: String,
    /// Key of the picture, relative to `data/<namespace>/`. In an archive: the archive's key, `/`, and the
    /// member's name.
    pub key: String,
    /// Result in the form of the task: a member `caption`, `predictions` or `detections`.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub result: Option<InferResult>,
    /// Why there is no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RowError>,
    /// SHA-256 of the picture's bytes; absent if they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Width of the upright picture in pixels; absent if it was not decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height of the upright picture in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Model that produced the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ServedModel>,
    /// Archives: the members beside the picture, `.json` parsed and `.txt` as text, by extension.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, serde_json::Value>,
}

/// Why a picture has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowError {
    /// Reason as a word, such as `InvalidPicture`.
    pub reason: String,
    /// What failed and how to mend it.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_result_under_the_task_s_name_and_nothing_that_is_absent() {
        let row = Row {
            id: "a".to_owned(),
            key: "cats/a.jpg".to_owned(),
            result: Some(InferResult::Caption("a cat".to_owned())),
            error: None,
            sha256: None,
            width: Some(4),
            height: Some(3),
            model: None,
            meta: BTreeMap::new(),
        };
        let json = r#"{"id":"a","key":"cats/a.jpg","caption":"a cat","width":4,"height":3}"#;
        assert_eq!(serde_json::to_string(&row).unwrap(), json);
        assert_eq!(serde_json::from_str::<Row>(json).unwrap(), row);
        let failed = r#"{"id":"b","key":"b","error":{"reason":"InvalidPicture","message":"no"}}"#;
        let row: Row = serde_json::from_str(failed).unwrap();
        assert_eq!(
            (row.result, row.error.unwrap().reason.as_str()),
            (None, "InvalidPicture")
        );
    }

    #[test]
    fn both_sides_lines_are_read_back() {
        let order = r#"{"order":"items","first":3,"items":[{"key":"a","url":"http://s/a?x"}],"lifetime_millis":9}"#;
        let read: Order = serde_json::from_str(order).unwrap();
        assert!(!format!("{read:?}").contains("?x"));
        assert_eq!(serde_json::to_string(&read).unwrap(), order);
        let line = r#"{"event":"heartbeat","succeeded":1,"failed":0,"begun":4,"reused":1}"#;
        let read: ShardLine = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), line);
        let before_reuse = line.replace(r#","reused":1"#, "");
        let read: ShardLine = serde_json::from_str(&before_reuse).unwrap();
        assert!(matches!(read, ShardLine::Heartbeat(progress) if progress.reused == 0));
    }
}
