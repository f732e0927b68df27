//! A program whose wall clock is wrong.

use anyhow::{Context as _, ensure};
use std::path::Path;
use std::process::Command;

/// Variables that put a program's wall clock `seconds` off. What is preloaded is built in `scratch`.
pub fn env(seconds: i64, scratch: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/skew.c");
    let library = scratch.join("skew.so");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .output()
        .context("cc")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cc: {complaint}");
    Ok(vec![
        ("LD_PRELOAD".to_owned(), library.display().to_string()),
        ("SKEW_SECONDS".to_owned(), seconds.to_string()),
    ])
}
