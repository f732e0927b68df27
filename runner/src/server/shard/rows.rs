//! The rows of an attempt, in the order of its pictures whatever the order in which they are done.

use fovea_protocol::{MAX_PART_BYTES, Problem, Row, RowError};

/// Bound on a picture's result as JSON. A larger one makes a failed row.
const MAX_RESULT_BYTES: usize = 64 * 1024;

/// Bound on a row's error message, in characters.
const MAX_MESSAGE_CHARS: usize = 1024;

/// The rows grow to this number of bytes before the part ends, so that what is under way has room.
const FULL_BYTES: u64 = MAX_PART_BYTES / 4 * 3;

/// Rows as JSON Lines, by index.
#[derive(Debug)]
pub(super) struct Rows {
    from: u64,
    lines: Vec<Option<Line>>,
    bytes: u64,
}

#[derive(Debug)]
struct Line {
    json: Box<[u8]>,
    failed: bool,
}

/// Rows without a gap.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Prefix {
    /// Index after the last one.
    pub(super) to: u64,
    pub(super) jsonl: Vec<u8>,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
}

impl Rows {
    pub(super) fn new(from: u64) -> Self {
        Self {
            from,
            lines: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds the row of the picture `index`; returns whether it is one of a failed picture.
    pub(super) fn insert(&mut self, index: u64, row: Row) -> bool {
        let mut row = row;
        if let Some(error) = &mut row.error
            && error.message.chars().nth(MAX_MESSAGE_CHARS).is_some()
        {
            error.message = error.message.chars().take(MAX_MESSAGE_CHARS).collect();
        }
        let mut json = encode(&row);
        if json.len() > MAX_RESULT_BYTES {
            let result = row.result.as_ref().map(encode);
            if result.is_some_and(|result| result.len() > MAX_RESULT_BYTES) {
                row.result = None;
                row.error = Some(RowError {
                    reason: "ResultTooLarge".to_owned(),
                    message: format!("the result has more than {MAX_RESULT_BYTES} bytes as JSON"),
                });
                json = encode(&row);
            }
        }
        json.push(b'\n');
        let failed = row.error.is_some();
        let Some(at) = (index.checked_sub(self.from)).and_then(|at| usize::try_from(at).ok())
        else {
            return failed;
        };
        if self.lines.len() <= at {
            self.lines.resize_with(at + 1, || None);
        }
        self.bytes += json.len() as u64;
        let json = json.into_boxed_slice();
        self.lines[at] = Some(Line { json, failed });
        failed
    }

    /// Whether no further picture should begin.
    pub(super) fn full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    /// The rows up to the first gap, or to the bound on a part.
    pub(super) fn into_prefix(self) -> Prefix {
        let mut prefix = Prefix {
            to: self.from,
            jsonl: Vec::with_capacity(usize::try_from(self.bytes).unwrap_or(0)),
            ..Prefix::default()
        };
        for Line { json, failed } in self.lines.into_iter().map_while(|line| line) {
            if (prefix.jsonl.len() + json.len()) as u64 > MAX_PART_BYTES {
                break;
            }
            prefix.jsonl.extend_from_slice(&json);
            prefix.to += 1;
            prefix.succeeded += u64::from(!failed);
            prefix.failed += u64::from(failed);
        }
        prefix
    }
}

/// A row's error, as a problem tells it.
pub(super) fn row_error(problem: &Problem) -> RowError {
    RowError {
        reason: problem.reason.name().to_owned(),
        message: problem.detail.clone(),
    }
}

/// Serializing the protocol's own types does not fail: they have string keys and no custom code.
fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_protocol::InferResult;
    use std::collections::BTreeMap;

    fn row(key: &str, caption: Option<&str>) -> Row {
        Row {
            id: key.to_owned(),
            key: key.to_owned(),
            result: caption.map(|caption| InferResult::Caption(caption.to_owned())),
            error: caption.is_none().then(|| RowError {
                reason: "InvalidPicture".to_owned(),
                message: "é".repeat(5000),
            }),
            sha256: None,
            width: None,
            height: None,
            model: None,
            meta: BTreeMap::new(),
        }
    }

    fn read(prefix: &Prefix) -> Vec<Row> {
        let text = std::str::from_utf8(&prefix.jsonl).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn rows_are_in_the_pictures_order_up_to_the_first_gap() {
        let mut rows = Rows::new(10);
        assert!(!rows.insert(12, row("c", Some("x"))));
        assert!(!rows.insert(10, row("a", Some("x"))));
        assert!(!rows.insert(14, row("e", Some("x"))));
        assert!(rows.insert(11, row("b", None)));
        let prefix = rows.into_prefix();
        let read = read(&prefix);
        let keys: Vec<_> = read.iter().map(|row| row.key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        assert_eq!((prefix.to, prefix.succeeded, prefix.failed), (13, 2, 1));
        let message = &read[1].error.as_ref().unwrap().message;
        assert_eq!(message.chars().count(), MAX_MESSAGE_CHARS);
    }

    #[test]
    fn a_result_beyond_its_bound_is_a_failed_row() {
        let mut rows = Rows::new(0);
        assert!(rows.insert(0, row("a", Some(&"x".repeat(MAX_RESULT_BYTES)))));
        assert!(!rows.insert(1, row("a", Some(&"x".repeat(MAX_RESULT_BYTES - 100)))));
        let read = read(&rows.into_prefix());
        assert_eq!(read[0].error.as_ref().unwrap().reason, "ResultTooLarge");
        assert!(read[0].result.is_none() && read[1].result.is_some());
    }

    #[test]
    fn a_part_has_a_bound_in_bytes() {
        let mut rows = Rows::new(0);
        let caption = "x".repeat(MAX_RESULT_BYTES - 100);
        let mut index = 0;
        while !rows.full() {
            rows.insert(index, row("a", Some(&caption)));
            index += 1;
        }
        for more in index..index + 400 {
            rows.insert(more, row("a", Some(&caption)));
        }
        let prefix = rows.into_prefix();
        assert!(prefix.to >= index && prefix.to < index + 400);
        assert!(prefix.jsonl.len() as u64 <= MAX_PART_BYTES);
    }
}
