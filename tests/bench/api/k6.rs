//! One run of k6, the load.

use anyhow::{Context as _, ensure};
use fovea_setup::cache::Cache;
use fovea_setup::go::K6;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::process::Command;
use uuid::Uuid;

/// The same requests, one after another, over and over.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) requests: Vec<Request>,
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
    /// A PEM file with the certificate and the key that the API server knows the load by.
    pub(crate) identity: Option<PathBuf>,
}

/// A request, sent each time with another picture or as another object.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) urls: Vec<String>,
    /// A file that is the body; a number is written over a few bytes near its end.
    pub(crate) picture: Option<PathBuf>,
    /// Or JSON, in which `NUMBER` is replaced.
    pub(crate) object: Option<Value>,
    pub(crate) content_type: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Measured {
    pub(crate) count: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Share of answers that were a success.
    good: f64,
}

#[derive(Serialize)]
struct Order<'a> {
    #[serde(flatten)]
    load: &'a Load,
    /// Keeps names of runs apart.
    run: Uuid,
    out: &'a Path,
}

impl Load {
    /// Runs it; an error where an answer was none.
    pub(crate) async fn run(&self, scratch: &Path) -> anyhow::Result<Measured> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/api/load.js");
        let (order, out) = (scratch.join("load.json"), scratch.join("k6.json"));
        let written = Order {
            load: self,
            run: Uuid::new_v4(),
            out: &out,
        };
        std::fs::write(&order, serde_json::to_vec(&written)?)?;
        let output = Command::new(K6.program(&Cache::from_env()?, "k6"))
            .args(["run", "--quiet", "--no-usage-report", "--address="])
            .arg(script)
            .env("LOAD", &order)
            .output()
            .await
            .context("k6")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "k6: {complaint}");
        let measured: Measured = serde_json::from_slice(&std::fs::read(&out)?)?;
        ensure!(
            (measured.good - 1.0).abs() < f64::EPSILON,
            "{:?}: {measured:?}",
            self.requests
        );
        Ok(measured)
    }
}
