//! One run of k6, the load.

use anyhow::{Context as _, ensure};
use fovea_dev::cache::Cache;
use fovea_dev::setup::go::K6;
use serde::Deserialize;
use std::path::Path;
use tokio::process::Command;

/// The same request, over and over.
pub(crate) struct Load<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) body: &'a Path,
    pub(crate) content_type: Option<String>,
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Measured {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Share of answers that were a success.
    pub(crate) good: f64,
}

impl Load<'_> {
    /// Runs it; an error where an answer was none.
    pub(crate) async fn run(&self, scratch: &Path) -> anyhow::Result<Measured> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/api/load.js");
        let out = scratch.join("k6.json");
        let output = Command::new(K6.program(&Cache::from_env()?, "k6"))
            .args(["run", "--quiet", "--no-usage-report", "--address="])
            .arg(script)
            .env("METHOD", self.method)
            .env("URL", self.url)
            .env("BODY", self.body)
            .env(
                "CONTENT_TYPE",
                self.content_type.as_deref().unwrap_or_default(),
            )
            .env("CONNECTIONS", self.connections.to_string())
            .env("SECONDS", self.seconds.to_string())
            .env("OUT", &out)
            .output()
            .await
            .context("k6")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "k6: {complaint}");
        let measured: Measured = serde_json::from_slice(&std::fs::read(&out)?)?;
        ensure!(
            (measured.good - 1.0).abs() < f64::EPSILON,
            "{}: {measured:?}",
            self.url
        );
        Ok(measured)
    }
}

/// The middle one of `values`, or the mean of the middle two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
