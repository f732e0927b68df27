//! Schemathesis, which reads the API's description and holds the service against it.

use super::harness::Service;
use anyhow::Context as _;
use tokio::process::Command;

#[tokio::test]
#[ignore = "takes minutes and needs Schemathesis: `make fuzz-api`"]
async fn schemathesis_finds_nothing() -> anyhow::Result<()> {
    let program = std::env::var("SCHEMATHESIS").context("SCHEMATHESIS is not set")?;
    let examples = std::env::var("EXAMPLES").unwrap_or_else(|_| "100".to_owned());
    let api = Service::start(&[]).await?;
    let scratch = tempfile::tempdir()?;
    let hooks = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis");
    let status = Command::new(program)
        .args(["--config-file", &format!("{hooks}/schemathesis.toml")])
        .args(["run", &format!("{}/openapi.json", api.base)])
        .args(["--workers", "2", "--max-examples", &examples])
        .args(["--continue-on-failure", "--no-color"])
        // It keeps a cache where it runs.
        .current_dir(scratch.path())
        .env("PYTHONPATH", hooks)
        .env("NO_PROXY", "*")
        .status()
        .await?;
    anyhow::ensure!(status.success(), "Schemathesis found something: see above");
    Ok(())
}
