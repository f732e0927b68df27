//! Rows in the format that a client asks for. Pure.

use super::coco::Categories;
use super::csv;
use super::row::Row;
use super::rows::RowsError;
use fovea_crds::Task;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Jsonl,
    Csv,
    Coco,
}

/// Which rows an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    Failed,
    Succeeded,
}

impl Format {
    /// Content-Type and extension of a file.
    pub(crate) fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Jsonl => ("application/x-ndjson", "jsonl"),
            Self::Csv => ("text/csv; charset=utf-8; header=present", "csv"),
            Self::Coco => ("application/json", "json"),
        }
    }
}

/// Writes rows.
pub(crate) struct Renderer {
    format: Format,
    task: Task,
    only: Option<Only>,
    categories: Categories,
    first: bool,
}

/// What decides whether a row is one of a failure.
#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    error: Option<IgnoredAny>,
}

/// Whether the row of a line is that of a picture that failed.
pub(super) fn is_failed(line: &[u8]) -> Result<bool, RowsError> {
    let Outcome { error } = serde_json::from_slice(line).map_err(wrong)?;
    Ok(error.is_some())
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn wrong(error: serde_json::Error) -> RowsError {
    RowsError::Row(error.to_string())
}

impl Renderer {
    pub(crate) fn new(format: Format, task: Task, only: Option<Only>) -> Self {
        Self {
            format,
            task,
            only,
            categories: Categories::new(),
            first: true,
        }
    }

    /// Whether rows are passed on as they are.
    pub(crate) fn is_transparent(&self) -> bool {
        self.format == Format::Jsonl && self.only.is_none()
    }

    /// What comes before the rows.
    pub(crate) fn begin(&self) -> String {
        match self.format {
            Format::Jsonl => String::new(),
            Format::Csv => csv::header(self.task),
            Format::Coco => "[".to_owned(),
        }
    }

    /// Appends the row of one line, which has no line feed.
    pub(crate) fn line(&mut self, line: &[u8], out: &mut String) -> Result<(), RowsError> {
        if let Some(only) = self.only
            && is_failed(line)? != (only == Only::Failed)
        {
            return Ok(());
        }
        if self.format == Format::Jsonl {
            out.push_str(
                std::str::from_utf8(line).map_err(|error| RowsError::Row(error.to_string()))?,
            );
            out.push('\n');
            return Ok(());
        }
        self.row(&serde_json::from_slice(line).map_err(wrong)?, out)
    }

    /// Appends one row.
    pub(crate) fn row(&mut self, row: &Row, out: &mut String) -> Result<(), RowsError> {
        match self.format {
            Format::Jsonl => {}
            Format::Csv => {
                let written = csv::write(row, self.task, out);
                written.map_err(|error| RowsError::Row(error.to_string()))?;
            }
            Format::Coco => {
                let written = self.categories.write(row, &mut self.first, out);
                written.ok_or(RowsError::TooManyLabels)?;
            }
        }
        Ok(())
    }

    /// What comes after the rows.
    pub(crate) fn end(&self) -> &'static str {
        match self.format {
            Format::Jsonl | Format::Csv => "",
            Format::Coco => "\n]\n",
        }
    }
}
