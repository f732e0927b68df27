//! The clients of both services, as their READMEs show them: the bytes that `curl -F` sends, and
//! `curl` itself if it is installed.

mod async_vision;
mod image_analysis;
mod outages;

use super::harness::{Answer, BUCKET, Service, minio, until};
use anyhow::Context as _;
use clap::Parser as _;
use fovea_api::Config;
use fovea_store::{ObjectKey, Store};
use kube::ResourceExt as _;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

/// A boundary as curl generates it.
const BOUNDARY: &str = "------------------------d74496d66958873e";

/// One `-F` of a curl line.
#[derive(Clone, Copy)]
enum Field<'a> {
    /// `-F "name=@file name"`, and the file's bytes.
    File(&'a str, &'a str, &'a [u8]),
    /// `-F "name=value"`
    Text(&'a str, &'a str),
}

/// `curl -X POST <path> -F ...`, byte for byte.
fn form(api: &Service, path: &str, fields: &[Field<'_>]) -> RequestBuilder {
    let mut body = Vec::new();
    for field in fields {
        let (head, bytes) = match field {
            Field::File(name, file, bytes) => (
                format!(
                    "Content-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: application/octet-stream"
                ),
                *bytes,
            ),
            Field::Text(name, value) => (
                format!("Content-Disposition: form-data; name=\"{name}\""),
                value.as_bytes(),
            ),
        };
        body.extend(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").bytes());
        body.extend(bytes);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    api.http
        .post(format!("{}{path}", api.base))
        .header(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .body(body)
}

/// Runs curl; `None` if it is not installed.
async fn curl(arguments: &[&str]) -> anyhow::Result<Option<Value>> {
    let curl = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*"])
        .args(arguments)
        .output()
        .await;
    match curl {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let stderr = String::from_utf8_lossy(&output.stderr);
            let json = serde_json::from_str(&text);
            json.map(Some).with_context(|| format!("{text}{stderr}"))
        }
    }
}

/// A job's id, which must be a lower-case UUID.
fn job_id(answer: &Answer) -> anyhow::Result<String> {
    let id = answer.body["job_id"].as_str().context("no job_id")?;
    let uuid = uuid::Uuid::parse_str(id)?;
    anyhow::ensure!(uuid.hyphenated().to_string() == id, "{id}");
    Ok(id.to_owned())
}

/// Writes a job's status as the operator does, and waits until the API shows it.
async fn write(api: &Service, id: &str, status: Value) -> anyhow::Result<()> {
    let written = api.write_status(id, status).await?;
    let status = json!(written.status.context("no status")?);
    until("the api to show the status", || async {
        let shown = api.get(&format!("/v1/jobs/{id}")).await?.body;
        let same = |member: &str| shown[member] == status[member];
        anyhow::ensure!(same("phase") && same("attempts"), "{shown}");
        Ok(())
    })
    .await
}

/// Ends the job with a result that is too large for its status, as the operator does.
async fn write_large(
    api: &Service,
    id: &str,
    whole: &Value,
    head: Value,
) -> anyhow::Result<String> {
    let minio = minio().await?;
    let flags = [
        "fovea-api",
        "--s3-endpoint",
        minio.endpoint(),
        "--s3-bucket",
        BUCKET,
    ];
    let config = Config::try_parse_from(flags)?.store;
    let store = Store::connect_as(&config, minio.access_key(), minio.secret_key()).await?;
    let uid = api.jobs.get(id).await?.uid().context("no uid")?;
    let key = ObjectKey::result(api.namespace.name(), &uid)?;
    let bytes = serde_json::to_vec(whole)?;
    let sha256 = fovea_store::Sha256::of(&bytes).to_string();
    let status = json!({
        "phase": "Succeeded", "attempts": 1, "result": head,
        "resultBytes": bytes.len(), "resultSha256": sha256,
    });
    store.put(&key, bytes.into(), "application/json").await?;
    write(api, id, status).await?;
    Ok(key.to_string())
}

/// Whether the response is an error of these routes: JSON with a text.
fn is_detail(answer: &Answer, status: u16) -> bool {
    answer.status == status
        && answer.header("content-type") == Some("application/json")
        && answer.header("x-request-id").is_some()
        && answer.body["detail"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
        && answer
            .body
            .as_object()
            .is_some_and(|members| members.len() == 1)
}

/// FastAPI's list of missing fields.
fn missing(fields: &[&str]) -> Value {
    let entry = |field| json!({"type": "missing", "loc": ["body", field], "msg": "Field required", "input": null});
    json!({"detail": fields.iter().map(entry).collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_disabled_family_is_not_served_and_the_other_is() -> anyhow::Result<()> {
    let api = Service::start(&["--compat-async-vision=false"]).await?;
    for path in [
        "/api/v1/status/550e8400-e29b-41d4-a716-446655440000",
        "/api/v1/health",
    ] {
        let answer = api.get(path).await?;
        assert_eq!((answer.status, answer.problem()), (404, "no-such-route"));
    }
    let answer = api
        .get("/job-status/550e8400-e29b-41d4-a716-446655440000")
        .await?;
    assert!(is_detail(&answer, 404), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_family_s_jobs_are_in_its_own_namespace() -> anyhow::Result<()> {
    // The namespace does not exist, so that no job can be created there.
    let api = Service::start(&["--compat-image-analysis-namespace", "nowhere"]).await?;
    let picture = super::pictures::jpeg(90);
    let fields = [
        Field::File("file", "a.jpg", &picture),
        Field::Text("analysis_type", "classification"),
    ];
    let answer = super::harness::send(form(&api, "/upload-image", &fields)).await?;
    assert!(is_detail(&answer, 500), "{answer:?}");
    let answer = super::harness::send(form(&api, "/api/v1/upload", &fields)).await?;
    assert_eq!(answer.status, 200, "{answer:?}");
    Ok(())
}
