//! The shared stack, and requests to it.

use anyhow::{Context, Result, anyhow};
use fovea_crds::{InferenceJob, InferenceJobSpec, InferenceJobStatus, Input, Task};
use fovea_harness::{Stack, StackOptions, eventually, stack};
pub(crate) use fovea_tests::demo::answers;
use k8s_openapi::ByteString;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Bound on a job, for a busy machine.
pub(crate) const ENDED: Duration = Duration::from_secs(90);

/// The stack, started at the first call; it ends with the process.
pub(crate) async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let start =
        || async { Stack::start(StackOptions::default(), |line| eprintln!("{line}")).await };
    STACK
        .get_or_try_init(start)
        .await
        .expect("the stack starts")
}

pub(crate) async fn jobs() -> Api<InferenceJob> {
    let client = stack()
        .await
        .control_plane
        .client()
        .await
        .expect("a client");
    Api::namespaced(client, stack::JOB_NAMESPACE)
}

pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

pub(crate) fn samples() -> BTreeMap<PathBuf, String> {
    answers("captions.json")
}

/// One of the pictures, with its caption.
pub(crate) fn sample() -> (Vec<u8>, String) {
    let (path, caption) = samples().into_iter().next().expect("a picture");
    (std::fs::read(path).expect("the picture"), caption)
}

pub(crate) fn inline_job(name: &str, picture: &[u8]) -> InferenceJob {
    let input = Input::Inline {
        data: ByteString(picture.to_vec()),
    };
    InferenceJob::new(name, InferenceJobSpec::new(Task::ImageToText, input))
}

pub(crate) async fn create(job: &InferenceJob) -> Result<InferenceJob> {
    Ok(jobs().await.create(&PostParams::default(), job).await?)
}

pub(crate) async fn patch(name: &str, spec: Value) -> Result<InferenceJob> {
    let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
    Ok(jobs()
        .await
        .patch(name, &PatchParams::default(), &patch)
        .await?)
}

/// Waits until `wanted` holds for the job's status.
pub(crate) async fn status_where(
    name: &str,
    what: &str,
    wanted: impl Fn(&InferenceJobStatus) -> bool,
) -> Result<InferenceJobStatus> {
    let api = jobs().await;
    let what = format!("{name} {what}");
    let found = eventually(&what, ENDED, || async {
        let job = api.get(name).await?;
        let status = job
            .status
            .clone()
            .ok_or_else(|| anyhow!("{} has no status yet", job.name_any()))?;
        if wanted(&status) {
            Ok(status)
        } else {
            Err(anyhow!("{status:?}"))
        }
    });
    Ok(found.await?)
}

pub(crate) async fn ended(name: &str) -> Result<InferenceJobStatus> {
    status_where(name, "to end", |status| status.phase.is_terminal()).await
}

/// `POST /v1/jobs` with a file; the answer's status and body.
pub(crate) async fn upload(picture: &[u8], name: &str) -> Result<(u16, Value)> {
    upload_with(picture, name, &[]).await
}

/// The same with more form fields.
pub(crate) async fn upload_with(
    picture: &[u8],
    name: &str,
    fields: &[(&'static str, &'static str)],
) -> Result<(u16, Value)> {
    let part = reqwest::multipart::Part::bytes(picture.to_vec()).file_name(name.to_owned());
    let form = reqwest::multipart::Form::new().part("file", part);
    let form = (fields.iter()).fold(form, |form, (name, value)| form.text(*name, *value));
    let url = format!("{}/v1/jobs", stack().await.api_url());
    let answer = http().post(url).multipart(form).send().await?;
    let status = answer.status().as_u16();
    Ok((
        status,
        answer.json().await.context("the answer is no JSON")?,
    ))
}

/// Polls `GET /v1/jobs/{id}` until the job has ended.
pub(crate) async fn ended_by_http(id: &str) -> Result<Value> {
    let url = format!("{}/v1/jobs/{id}", stack().await.api_url());
    let what = format!("{url} to end");
    let found = eventually(&what, ENDED, || async {
        let job: Value = http()
            .get(&url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        match job["phase"].as_str() {
            Some("Succeeded" | "Failed" | "Cancelled") => Ok(job),
            phase => Err(anyhow!("its phase is {phase:?}")),
        }
    });
    Ok(found.await?)
}

pub(crate) fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client")
}
