//! Schemathesis, which checks the API against its description.

use super::harness::{Service, send};
use super::pictures::jpeg;
use anyhow::Context as _;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use tokio::process::Command;

#[tokio::test]
#[ignore = "takes minutes and needs Schemathesis: `make fuzz-api`"]
async fn schemathesis_finds_nothing() -> anyhow::Result<()> {
    let program = std::env::var("SCHEMATHESIS").context("SCHEMATHESIS is not set")?;
    let examples = std::env::var("EXAMPLES").unwrap_or_else(|_| "100".to_owned());
    let api = Service::start(&[]).await?;
    let scratch = tempfile::tempdir()?;
    let hooks = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis");
    let mut config = std::fs::read_to_string(format!("{hooks}/schemathesis.toml"))?;
    config.push_str(&job_ids(&api).await?);
    let config_file = scratch.path().join("schemathesis.toml");
    std::fs::write(&config_file, config)?;
    let status = Command::new(program)
        .arg("--config-file")
        .arg(config_file)
        .args(["run", &format!("{}/openapi.json", api.base)])
        .args(["--workers", "2", "--max-examples", &examples])
        .args(["--continue-on-failure", "--no-color"])
        // It writes a cache to its working directory.
        .current_dir(scratch.path())
        .env("PYTHONPATH", hooks)
        .env("NO_PROXY", "*")
        .status()
        .await?;
    anyhow::ensure!(status.success(), "Schemathesis found something: see above");
    Ok(())
}

/// Schemathesis' settings: job ids for the operations that no other operation leads to.
async fn job_ids(api: &Service) -> anyhow::Result<String> {
    let form = |kind: &'static str| {
        let file = Part::bytes(jpeg(3))
            .file_name("a.jpg")
            .mime_str("image/jpeg");
        file.map(|file| Form::new().part("file", file).text("analysis_type", kind))
    };
    let upload = async |path, kind| {
        let request = api
            .http
            .post(format!("{}{path}", api.base))
            .multipart(form(kind)?);
        let answer = send(request).await?;
        let id = answer.body["job_id"].as_str().map(str::to_owned);
        id.with_context(|| format!("{answer:?}"))
    };
    let captioned = upload("/api/v1/upload", "classification").await?;
    let analysed = upload("/upload-image", "classification").await?;
    let whole = send(api.post(jpeg(4))).await?.id()?;
    let result = json!({"phase": "Succeeded", "result": {"caption": "a cat"}});
    api.write_status(&whole, result).await?;
    let batch = json!({"input": {"prefix": {"prefix": "cats"}}});
    let url = format!("{}/v1/batches", api.base);
    let batch = send(api.http.post(url).json(&batch)).await?.id()?;
    api.write_status(&batch, json!({"phase": "Succeeded"}))
        .await?;
    let operations = [
        ("GET /api/v1/status/{id}", captioned),
        ("GET /job-status/{id}", analysed),
        ("GET /v1/jobs/{id}/result", whole),
        ("GET /v1/batches/{id}/results", batch.clone()),
        ("POST /v1/batches/{id}/retry", batch),
    ];
    let settings = operations.map(|(name, id)| {
        format!("\n[[operations]]\ninclude-name = \"{name}\"\nparameters = {{ \"path.id\" = \"{id}\" }}\n")
    });
    Ok(settings.concat())
}
