//! Rows in the formats of a batch, made of their JSON Lines.

mod csv;
mod parquet;

use fovea_protocol::{PartFormat, Row, Task};

/// Why rows could not be formatted: a bug in the runner.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    #[error("a row cannot be read back: {0}")]
    Row(#[from] serde_json::Error),
    #[error(transparent)]
    Csv(#[from] ::csv::Error),
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
    #[error(transparent)]
    Parquet(#[from] ::parquet::errors::ParquetError),
}

/// The rows in this format; `None` if that is JSON Lines.
pub(super) fn format(
    format: PartFormat,
    task: Task,
    jsonl: &[u8],
) -> Result<Option<Vec<u8>>, FormatError> {
    match format {
        PartFormat::Jsonl => Ok(None),
        PartFormat::Csv => csv::write(task, rows(jsonl)).map(Some),
        PartFormat::Parquet => parquet::write(task, rows(jsonl)).map(Some),
    }
}

fn rows(jsonl: &[u8]) -> impl Iterator<Item = Result<Row, serde_json::Error>> {
    let lines = jsonl.split(|&byte| byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(serde_json::from_slice)
}

/// A row's `meta` as JSON; `None` if it has none.
fn meta(row: &Row) -> Result<Option<String>, serde_json::Error> {
    let meta = Some(&row.meta).filter(|meta| !meta.is_empty());
    meta.map(serde_json::to_string).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_protocol::ServedModel;
    use fovea_protocol::{BoundingBox, Classification, Detection, InferResult, RowError};
    use std::collections::BTreeMap;

    /// A row with a result, and one without, as JSON Lines.
    pub(super) fn two(result: InferResult) -> Vec<u8> {
        let done = Row {
            id: "a,\"b\"".to_owned(),
            key: "dir/a.jpg".to_owned(),
            result: Some(result),
            error: None,
            sha256: Some("00".to_owned()),
            width: Some(4),
            height: Some(3),
            model: Some(ServedModel {
                name: "m".to_owned(),
                revision: "r".to_owned(),
            }),
            meta: BTreeMap::from([("json".to_owned(), serde_json::json!({"n": 1}))]),
        };
        let failed = Row {
            id: "c".to_owned(),
            key: "c".to_owned(),
            result: None,
            error: Some(RowError {
                reason: "InvalidPicture".to_owned(),
                message: "no\npicture".to_owned(),
            }),
            sha256: None,
            width: None,
            height: None,
            model: None,
            meta: BTreeMap::new(),
        };
        let lines = [done, failed].map(|row| serde_json::to_string(&row).unwrap() + "\n");
        lines.concat().into_bytes()
    }

    pub(super) fn detections() -> InferResult {
        let bounding_box = BoundingBox {
            xmin: 1.0,
            ymin: 2.0,
            xmax: 3.5,
            ymax: 4.0,
        };
        let cat = |score| Detection {
            label: "cat".to_owned(),
            score,
            bounding_box,
        };
        InferResult::Detections(vec![cat(0.5), cat(0.25)])
    }

    pub(super) fn predictions() -> InferResult {
        let class = |label: &str, score| Classification {
            label: label.to_owned(),
            score,
        };
        InferResult::Predictions(vec![class("cat", 0.75), class("dog", 0.25)])
    }

    #[test]
    fn json_lines_need_no_other_format() {
        let rows = two(predictions());
        let formatted = format(PartFormat::Jsonl, Task::ImageClassification, &rows);
        assert_eq!(formatted.unwrap(), None);
    }
}
