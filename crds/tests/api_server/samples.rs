//! The samples are taken as they lie in the repository.

use crate::fixture::{Fixture, repository};
use anyhow::{Context, Result, ensure};
use std::fs;

#[tokio::test]
async fn every_sample_can_be_applied() -> Result<()> {
    let fixture = Fixture::new().await?;
    let mut applied = Vec::new();
    for entry in fs::read_dir(repository("manifests/samples"))? {
        let path = entry?.path();
        let text = path.to_str().context("a path that is no text")?;
        if !text.ends_with(".yaml") {
            continue;
        }
        let args = ["apply", "--validate=strict", "--dry-run=server", "-f", text];
        let answer = fixture.kubectl(&args, "").await?;
        ensure!(answer.contains("created"), "{text}: {answer}");
        applied.push(path.file_name().context("no name")?.to_owned());
    }
    ensure!(applied.len() >= 4, "{applied:?}");
    Ok(())
}
