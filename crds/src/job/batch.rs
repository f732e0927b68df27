//! Fields of a batch: many pictures in one job.

use crate::{
    bounds::{MAX_KEY_LENGTH, MAX_OUTPUT_LENGTH},
    rules::SHA256_PATTERN,
    serde_default::is_default,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a batch writes its results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Path below `data/<the job's namespace>/`, without the final `/`. The parts are written to
    /// `<prefix>/<the job's uid>/`. It must not lie inside the input's prefix.
    #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
    #[schemars(extend("x-kubernetes-validations" = [super::rules::output_prefix()]))]
    pub prefix: String,
    /// Format of the parts.
    #[serde(default)]
    pub format: OutputFormat,
}

/// Format of a batch's results, one row for each picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// One JSON object a line.
    #[default]
    Jsonl,
    /// Comma-separated values with a header; lists are JSON in one column.
    Csv,
    /// Apache Parquet with nested columns.
    Parquet,
}

impl OutputFormat {
    /// The format's name in the resource, which is also the extension of its files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// Pictures of a batch, by their outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All pictures. With archives, those that have been found so far.
    #[serde(default)]
    pub total: u64,
    /// Pictures with a result.
    #[serde(default)]
    pub succeeded: u64,
    /// Pictures without a result; their rows say why.
    #[serde(default)]
    pub failed: u64,
    /// Objects, or members of archives, that are not pictures by their name. They are not in the total.
    #[serde(default)]
    pub skipped: u64,
    /// Of the pictures with a result, those whose result was given before, with spec.reuse.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reused: u64,
}

impl Counts {
    /// Pictures that have a row.
    pub fn done(&self) -> u64 {
        self.succeeded.saturating_add(self.failed)
    }

    /// The counts in one line for `kubectl get`: `1234/20000, 3 failed`.
    pub(super) fn summary(self) -> String {
        let (done, total) = (self.done(), self.total);
        match self.failed {
            0 => format!("{done}/{total}"),
            failed => format!("{done}/{total}, {failed} failed"),
        }
    }
}

/// The results of a finished batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchOutput {
    /// Path below `data/<the job's namespace>/` of the parts and of `_SUCCESS.json`, which lists them.
    #[schemars(length(max = MAX_OUTPUT_LENGTH))]
    pub prefix: String,
    /// Number of parts.
    pub parts: u32,
    /// SHA-256 of `_SUCCESS.json`. Absent if the batch ended before every picture was done: then the prefix
    /// has the parts of those that were, and no `_SUCCESS.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = SHA256_PATTERN), length(max = 64))]
    pub success_sha256: Option<String>,
}
