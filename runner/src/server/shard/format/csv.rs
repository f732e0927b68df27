//! Rows as comma-separated values (RFC 4180). Every part has the header, which depends on the task alone:
//! `id`, `key`, the columns of the result, `sha256`, `width`, `height`, `model`, `revision`,
//! `error_reason`, `error_message`, as the API's own, and `meta`. What a row does not have is empty. The result is
//!
//! - of image-to-text: `caption`;
//! - of image-classification: `label` and `score` of the best label, and `predictions`, all of them as JSON;
//! - of object-detection: `detections` as JSON.

use super::{FormatError, meta};
use csv::Writer;
use fovea_protocol::{InferResult, Row, Task};

/// The columns of the task's result.
fn result_columns(task: Task) -> &'static [&'static str] {
    match task {
        Task::ImageToText => &["caption"],
        Task::ImageClassification => &["label", "score", "predictions"],
        Task::ObjectDetection => &["detections"],
    }
}

/// The fields of a result, as many as the task's columns.
fn result_fields(task: Task, result: Option<InferResult>) -> Result<Vec<String>, FormatError> {
    Ok(match result {
        Some(InferResult::Caption(caption)) => vec![caption],
        Some(InferResult::Predictions(found)) => {
            let all = serde_json::to_string(&found)?;
            let best = found.into_iter().next();
            let score = best.as_ref().map(|best| best.score.to_string());
            let label = best.map(|best| best.label);
            vec![label.unwrap_or_default(), score.unwrap_or_default(), all]
        }
        Some(InferResult::Detections(found)) => vec![serde_json::to_string(&found)?],
        None => vec![String::new(); result_columns(task).len()],
    })
}

pub(super) fn write(
    task: Task,
    rows: impl Iterator<Item = Result<Row, serde_json::Error>>,
) -> Result<Vec<u8>, FormatError> {
    let mut writer = Writer::from_writer(Vec::new());
    let before = ["id", "key"].iter();
    let after = [
        "sha256",
        "width",
        "height",
        "model",
        "revision",
        "error_reason",
        "error_message",
        "meta",
    ];
    writer.write_record(before.chain(result_columns(task)).chain(&after))?;
    for row in rows {
        let row = row?;
        let meta = meta(&row)?.unwrap_or_default();
        let (reason, message) = (row.error)
            .map(|error| (error.reason, error.message))
            .unwrap_or_default();
        let (model, revision) = (row.model)
            .map(|model| (model.name, model.revision))
            .unwrap_or_default();
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let mut fields = vec![row.id, row.key];
        fields.extend(result_fields(task, row.result)?);
        fields.extend([
            row.sha256.unwrap_or_default(),
            number(row.width).unwrap_or_default(),
            number(row.height).unwrap_or_default(),
            model,
            revision,
            reason,
            message,
            meta,
        ]);
        writer.write_record(&fields)?;
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()).into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{detections, predictions, two};
    use super::super::{format, rows};
    use super::*;
    use fovea_protocol::PartFormat;

    /// The header and the records of a part.
    fn read(task: Task, result: InferResult) -> Vec<Vec<String>> {
        let formatted = format(PartFormat::Csv, task, &two(result))
            .unwrap()
            .unwrap();
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(formatted.as_slice());
        let records = reader.records().map(Result::unwrap);
        records
            .map(|record| record.iter().map(str::to_owned).collect())
            .collect()
    }

    #[test]
    fn a_row_has_its_result_in_columns_of_the_task() {
        let table = read(Task::ImageToText, InferResult::Caption("a\ncat".to_owned()));
        assert_eq!(
            table[0].join(","),
            "id,key,caption,sha256,width,height,model,revision,error_reason,error_message,meta"
        );
        let done = [
            "a,\"b\"",
            "dir/a.jpg",
            "a\ncat",
            "00",
            "4",
            "3",
            "m",
            "r",
            "",
            "",
        ];
        assert_eq!(table[1][..10], done);
        assert_eq!(table[1][10], r#"{"n":1}"#.replace('{', "{\"json\":{") + "}");
        let failed = [
            "c",
            "c",
            "",
            "",
            "",
            "",
            "",
            "",
            "InvalidPicture",
            "no\npicture",
            "",
        ];
        assert_eq!(table[2], failed);

        let table = read(Task::ImageClassification, predictions());
        assert_eq!(table[0][2..5], ["label", "score", "predictions"]);
        let all = r#"[{"label":"cat","score":0.75},{"label":"dog","score":0.25}]"#;
        assert_eq!(table[1][2..5], ["cat", "0.75", all]);
        assert_eq!(table[2].len(), table[0].len());

        let table = read(Task::ObjectDetection, detections());
        let found: serde_json::Value = serde_json::from_str(&table[1][2]).unwrap();
        assert_eq!(found[0]["box"]["xmax"], 3.5);
    }

    #[test]
    fn a_part_without_rows_has_its_header() {
        let none = write(Task::ImageToText, rows(b"")).unwrap();
        assert!(none.starts_with(b"id,key,caption,") && none.ends_with(b"meta\n"));
    }
}
