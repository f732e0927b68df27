//! Rows as Parquet, compressed with Snappy. The columns depend on the task alone:
//!
//! ```text
//! id, key            string
//! caption            string                                             image-to-text
//! predictions        list<struct<label, score>>                         image-classification
//! detections         list<struct<label, score, box: struct<xmin, ymin, xmax, ymax>>>
//! error              struct<reason, message>
//! sha256             string
//! width, height      uint32
//! model, revision    string
//! meta               string: JSON
//! ```
//!
//! All but `id` and `key` are null where a row does not have them.

use super::{FormatError, meta};
use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder, UInt32Builder};
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use fovea_protocol::{BoundingBox, InferResult, Row, Task};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::sync::Arc;

/// Rows that are in memory as columns at once.
const BATCH_ROWS: usize = 1000;

pub(super) fn write(
    task: Task,
    rows: impl Iterator<Item = Result<Row, serde_json::Error>>,
) -> Result<Vec<u8>, FormatError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("fovea ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let none = Columns::new(task).finish()?;
    let mut writer = ArrowWriter::try_new(Vec::new(), none.schema(), Some(properties))?;
    let mut columns = Columns::new(task);
    for row in rows {
        columns.push(row?)?;
        if columns.rows == BATCH_ROWS {
            let full = std::mem::replace(&mut columns, Columns::new(task));
            writer.write(&full.finish()?)?;
        }
    }
    writer.write(&columns.finish()?)?;
    Ok(writer.into_inner()?)
}

/// Columns of some rows.
struct Columns {
    rows: usize,
    id: StringBuilder,
    key: StringBuilder,
    result: ResultColumn,
    errors: Vec<bool>,
    reason: StringBuilder,
    message: StringBuilder,
    sha256: StringBuilder,
    width: UInt32Builder,
    height: UInt32Builder,
    model: StringBuilder,
    revision: StringBuilder,
    meta: StringBuilder,
}

/// The column of the task's result.
enum ResultColumn {
    Caption(StringBuilder),
    Objects(Box<Objects>),
}

/// Predictions or detections.
struct Objects {
    /// Number of objects of each row; `None` without a result.
    counts: Vec<Option<usize>>,
    label: StringBuilder,
    score: Float32Builder,
    /// `xmin`, `ymin`, `xmax`, `ymax` of detections.
    corners: Option<[Float32Builder; 4]>,
}

impl ResultColumn {
    fn new(task: Task) -> Self {
        let objects = |corners| Self::Objects(Box::new(Objects::new(corners)));
        match task {
            Task::ImageToText => Self::Caption(StringBuilder::new()),
            Task::ImageClassification => objects(None),
            Task::ObjectDetection => objects(Some(std::array::from_fn(|_| Float32Builder::new()))),
        }
    }

    fn push(&mut self, result: Option<InferResult>) {
        match self {
            Self::Caption(captions) => captions.append_option(match result {
                Some(InferResult::Caption(caption)) => Some(caption),
                _ => None,
            }),
            Self::Objects(objects) => objects.push(result),
        }
    }

    fn finish(self) -> Result<(&'static str, ArrayRef), FormatError> {
        match self {
            Self::Caption(mut captions) => Ok(("caption", Arc::new(captions.finish()))),
            Self::Objects(objects) => objects.finish(),
        }
    }
}

impl Objects {
    fn new(corners: Option<[Float32Builder; 4]>) -> Self {
        Self {
            counts: Vec::new(),
            label: StringBuilder::new(),
            score: Float32Builder::new(),
            corners,
        }
    }

    fn push(&mut self, result: Option<InferResult>) {
        let count = match (result, &mut self.corners) {
            (Some(InferResult::Predictions(found)), None) => {
                let count = found.len();
                for class in found {
                    self.label.append_value(class.label);
                    self.score.append_value(class.score);
                }
                Some(count)
            }
            (Some(InferResult::Detections(found)), Some(corners)) => {
                let count = found.len();
                for detection in found {
                    self.label.append_value(detection.label);
                    self.score.append_value(detection.score);
                    let BoundingBox {
                        xmin,
                        ymin,
                        xmax,
                        ymax,
                    } = detection.bounding_box;
                    for (corner, value) in corners.iter_mut().zip([xmin, ymin, xmax, ymax]) {
                        corner.append_value(value);
                    }
                }
                Some(count)
            }
            _ => None,
        };
        self.counts.push(count);
    }

    fn finish(mut self) -> Result<(&'static str, ArrayRef), FormatError> {
        let mut members = vec![
            required("label", Arc::new(self.label.finish())),
            required("score", Arc::new(self.score.finish())),
        ];
        let mut name = "predictions";
        if let Some(corners) = self.corners {
            name = "detections";
            let corners = ["xmin", "ymin", "xmax", "ymax"].into_iter().zip(corners);
            let corners = corners
                .map(|(name, mut corner)| required(name, Arc::new(corner.finish())))
                .collect::<Vec<_>>();
            members.push(required("box", Arc::new(StructArray::from(corners))));
        }
        Ok((name, lists(&self.counts, StructArray::from(members))?))
    }
}

type Member = (Arc<Field>, ArrayRef);

/// A member of a struct that has no nulls.
fn required(name: &str, values: ArrayRef) -> Member {
    let field = Field::new(name, values.data_type().clone(), false);
    (Arc::new(field), values)
}

/// Lists of as many of the objects each; null for `None`.
fn lists(counts: &[Option<usize>], objects: StructArray) -> Result<ArrayRef, FormatError> {
    // The builder of lists gives the offsets and the nulls; the values are not its own.
    let mut shape = ListBuilder::new(UInt32Builder::new());
    for count in counts {
        match count {
            Some(count) => shape.append_value(std::iter::repeat_n(Some(0), *count)),
            None => shape.append_null(),
        }
    }
    let (_, offsets, _, nulls) = shape.finish().into_parts();
    let field = Arc::new(Field::new("item", objects.data_type().clone(), false));
    let lists = ListArray::try_new(field, offsets, Arc::new(objects), nulls)?;
    Ok(Arc::new(lists))
}

impl Columns {
    fn new(task: Task) -> Self {
        let text = StringBuilder::new;
        Self {
            rows: 0,
            id: text(),
            key: text(),
            result: ResultColumn::new(task),
            errors: Vec::new(),
            reason: text(),
            message: text(),
            sha256: text(),
            width: UInt32Builder::new(),
            height: UInt32Builder::new(),
            model: text(),
            revision: text(),
            meta: text(),
        }
    }

    fn push(&mut self, row: Row) -> Result<(), FormatError> {
        self.meta.append_option(meta(&row)?);
        let Row {
            id,
            key,
            result,
            error,
            sha256,
            width,
            height,
            model,
            meta: _,
        } = row;
        self.rows += 1;
        self.id.append_value(id);
        self.key.append_value(key);
        self.result.push(result);
        self.errors.push(error.is_some());
        let (reason, message) = error.map(|error| (error.reason, error.message)).unzip();
        self.reason.append_option(reason);
        self.message.append_option(message);
        self.sha256.append_option(sha256);
        self.width.append_option(width);
        self.height.append_option(height);
        let (model, revision) = model.map(|model| (model.name, model.revision)).unzip();
        self.model.append_option(model);
        self.revision.append_option(revision);
        Ok(())
    }

    fn finish(mut self) -> Result<RecordBatch, FormatError> {
        let (name, result) = self.result.finish()?;
        let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
        let error = Fields::from(vec![text("reason", true), text("message", true)]);
        let members: Vec<ArrayRef> = vec![
            Arc::new(self.reason.finish()),
            Arc::new(self.message.finish()),
        ];
        let errors = StructArray::try_new(error.clone(), members, Some(self.errors.into()))?;
        let size = |name| Field::new(name, DataType::UInt32, true);
        let schema = Schema::new(vec![
            text("id", false),
            text("key", false),
            Field::new(name, result.data_type().clone(), true),
            Field::new("error", DataType::Struct(error), true),
            text("sha256", true),
            size("width"),
            size("height"),
            text("model", true),
            text("revision", true),
            text("meta", true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.id.finish()),
            Arc::new(self.key.finish()),
            result,
            Arc::new(errors),
            Arc::new(self.sha256.finish()),
            Arc::new(self.width.finish()),
            Arc::new(self.height.finish()),
            Arc::new(self.model.finish()),
            Arc::new(self.revision.finish()),
            Arc::new(self.meta.finish()),
        ];
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{detections, predictions, two};
    use super::super::{format, rows};
    use super::*;
    use fovea_protocol::PartFormat;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    /// The rows of a part as the format's own reader prints them.
    fn read(task: Task, jsonl: &[u8]) -> Vec<String> {
        let formatted = format(PartFormat::Parquet, task, jsonl).unwrap().unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(formatted)).unwrap();
        let rows = reader.get_row_iter(None).unwrap();
        rows.map(|row| row.unwrap().to_string()).collect()
    }

    #[test]
    fn results_are_nested_and_what_is_absent_is_null() {
        let [done, failed] = &read(Task::ObjectDetection, &two(detections()))[..] else {
            panic!("not two rows");
        };
        let cat =
            r#"{label: "cat", score: 0.5, box: {xmin: 1.0, ymin: 2.0, xmax: 3.5, ymax: 4.0}}"#;
        assert!(done.contains(cat), "{done}");
        assert!(
            done.contains("error: null") && done.contains("width: 4"),
            "{done}"
        );
        assert!(failed.contains("detections: null"), "{failed}");
        assert!(
            failed.contains(r#"error: {reason: "InvalidPicture""#),
            "{failed}"
        );
        let labels = &read(Task::ImageClassification, &two(predictions()))[0];
        assert!(
            labels.contains(r#"{label: "dog", score: 0.25}"#),
            "{labels}"
        );
        let caption = InferResult::Caption("a cat".to_owned());
        let caption = &read(Task::ImageToText, &two(caption))[0];
        assert!(caption.contains(r#"caption: "a cat""#), "{caption}");
    }

    #[test]
    fn a_part_may_have_no_rows_or_more_than_a_batch() {
        assert!(read(Task::ImageToText, b"").is_empty());
        let many = two(predictions()).repeat(BATCH_ROWS + 1);
        assert_eq!(rows(&many).count(), 2 * BATCH_ROWS + 2);
        assert_eq!(
            read(Task::ImageClassification, &many).len(),
            2 * BATCH_ROWS + 2
        );
    }
}
