//! Rows as CSV (RFC 4180, lines end with a line feed): one line a picture; lists are JSON in one column. The
//! columns are those of a batch's output as CSV.

use super::row::Row;
use csv::WriterBuilder;
use fovea_crds::Task;

/// Bytes of a line before the writer's buffer has to grow.
const LINE_BYTES: usize = 512;

/// The columns of a task's results.
fn columns(task: Task) -> &'static [&'static str] {
    match task {
        Task::ImageToText => &["caption"],
        Task::ImageClassification => &["label", "score", "predictions"],
        Task::ObjectDetection => &["detections"],
    }
}

/// The header line.
pub(super) fn header(task: Task) -> String {
    let result = columns(task).join(",");
    format!("id,key,{result},sha256,width,height,model,revision,error_reason,error_message,meta\n")
}

/// Appends one row.
pub(super) fn write(row: &Row, task: Task, out: &mut String) -> Result<(), csv::Error> {
    let mut fields: Vec<String> = vec![row.id.clone(), row.key.clone()];
    match task {
        Task::ImageToText => fields.push(row.caption.clone().unwrap_or_default()),
        Task::ImageClassification => {
            let best = row.predictions.iter().flatten().next();
            fields.push(best.map(|best| best.label.clone()).unwrap_or_default());
            fields.push(best.map(|best| best.score.to_string()).unwrap_or_default());
            fields.push(json(row.predictions.as_ref()));
        }
        Task::ObjectDetection => fields.push(json(row.detections.as_ref())),
    }
    let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    let (model, error) = (row.model.as_ref(), row.error.as_ref());
    fields.extend([
        row.sha256.clone().unwrap_or_default(),
        number(row.width),
        number(row.height),
        model.map(|model| model.name.clone()).unwrap_or_default(),
        model
            .map(|model| model.revision.clone())
            .unwrap_or_default(),
        error.map(|error| error.reason.clone()).unwrap_or_default(),
        error.map(|error| error.message.clone()).unwrap_or_default(),
        json(Some(&row.meta).filter(|meta| !meta.is_empty())),
    ]);
    let mut builder = WriterBuilder::new();
    let mut writer = builder.buffer_capacity(LINE_BYTES).from_writer(Vec::new());
    writer.write_record(&fields)?;
    let line = writer.into_inner();
    let line = line.map_err(|error| csv::Error::from(error.into_error()))?;
    // Made of texts.
    out.push_str(&String::from_utf8_lossy(&line));
    Ok(())
}

fn json(value: Option<&impl serde::Serialize>) -> String {
    // Numbers and texts can always be written.
    value
        .map(|value| serde_json::to_string(value).unwrap_or_default())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(task: Task, row: &serde_json::Value) -> String {
        let mut out = String::new();
        write(
            &serde_json::from_value(row.clone()).unwrap(),
            task,
            &mut out,
        )
        .unwrap();
        assert_eq!(
            header(task).matches(',').count(),
            header(task).trim().split(',').count() - 1
        );
        out
    }

    #[test]
    fn a_row_has_as_many_fields_as_the_header_and_quotes_what_needs_it() {
        let row = json!({"id": "a,b", "key": "c", "caption": "say \"hi\"\nthere", "width": 4, "height": 3,
            "model": {"name": "blip", "revision": "r"}});
        assert_eq!(
            line(Task::ImageToText, &row),
            "\"a,b\",c,\"say \"\"hi\"\"\nthere\",,4,3,blip,r,,,\n"
        );
        let row = json!({"id": "a", "key": "a", "predictions": [{"label": "cat", "score": 0.75}, {"label": "dog", "score": 0.25}]});
        assert_eq!(
            line(Task::ImageClassification, &row),
            "a,a,cat,0.75,\"[{\"\"label\"\":\"\"cat\"\",\"\"score\"\":0.75},{\"\"label\"\":\"\"dog\"\",\"\"score\"\":0.25}]\",,,,,,,,\n"
        );
        let row = json!({"id": "a", "key": "a", "error": {"reason": "InvalidPicture", "message": "no"},
                "meta": {"cls": "7"}});
        assert_eq!(
            line(Task::ObjectDetection, &row),
            "a,a,,,,,,,InvalidPicture,no,\"{\"\"cls\"\":\"\"7\"\"}\"\n"
        );
    }
}
