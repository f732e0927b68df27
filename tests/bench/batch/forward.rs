//! The rate of the runner's forward pass alone, by its own benchmark.

use crate::Arguments;
use crate::setting::{Setting, as_f64};
use anyhow::{Context as _, ensure};
use fovea_harness::stack::repository;
use serde_json::Value;
use std::os::unix::fs::symlink;
use tokio::process::Command;

/// Passes that are timed; the median counts.
const PASSES: u32 = 50;

/// Pictures per second of the demo's ViT on pixels that are decoded already, in passes as large as the runner's.
pub(crate) async fn per_second(setting: &Setting, arguments: &Arguments) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    for entry in std::fs::read_dir(repository().join("models/demo/vit"))? {
        let entry = entry?;
        symlink(entry.path(), folder.path().join(entry.file_name()))?;
    }
    symlink(setting.pictures(), folder.path().join("pictures"))?;
    let threads = std::thread::available_parallelism()?;
    let timed = Command::new(&arguments.forward)
        .arg(folder.path())
        .args(["--batch".to_owned(), arguments.max_batch_size.to_string()])
        .args(["--threads".to_owned(), threads.to_string()])
        .args(["--runs".to_owned(), PASSES.to_string()])
        .output()
        .await?;
    let text = String::from_utf8_lossy(&timed.stdout);
    ensure!(
        timed.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&timed.stderr)
    );
    let last: Value = serde_json::from_str(text.lines().last().context("no output")?)?;
    let pass_ms = last["median_model_ms"].as_f64().context("no time")?;
    Ok(as_f64(arguments.max_batch_size) / pass_ms * 1000.0)
}
