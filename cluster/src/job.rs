//! Reads of one job, and of its inline picture, which no cache keeps.

use crate::{found, request};
use fovea_crds::{InferenceJob, WatchedJob};
use k8s_openapi::ByteString;
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource as _, ResourceExt as _};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

#[derive(Deserialize)]
struct Job {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    uid: Option<String>,
}

#[derive(Deserialize)]
struct Spec {
    input: Input,
}

#[derive(Deserialize)]
struct Input {
    inline: Option<Inline>,
}

#[derive(Deserialize)]
struct Inline {
    data: ByteString,
}

/// The job `name`, [trimmed](InferenceJob::trimmed); `None` if the API server has none.
pub async fn read_job(
    client: &Client,
    namespace: &str,
    name: &str,
) -> kube::Result<Option<InferenceJob>> {
    let read = get(client, Some(namespace), name).await?;
    read.map(decoded).transpose()
}

/// The inline picture of `job`; `None` if the job is gone, or has none.
pub async fn read_inline(client: &Client, job: &InferenceJob) -> kube::Result<Option<Vec<u8>>> {
    let namespace = job.metadata.namespace.as_deref();
    let found: Option<Job> = get(client, namespace, &job.name_any()).await?;
    let same = found.filter(|found| found.metadata.uid == job.metadata.uid);
    let inline = same.and_then(|same| same.spec.input.inline);
    Ok(inline.map(|inline| inline.data.0))
}

/// The job of an answer; an error if it does not decode.
pub fn decoded(WatchedJob(job): WatchedJob) -> kube::Result<InferenceJob> {
    job.map_err(|invalid| kube::Error::SerdeError(serde_json::Error::custom(invalid.error)))
}

async fn get<T: DeserializeOwned + Send + 'static>(
    client: &Client,
    namespace: Option<&str>,
    name: &str,
) -> kube::Result<Option<T>> {
    let get = Request::new(InferenceJob::url_path(&(), namespace)).get(name, &GetParams::default());
    let get = get.map_err(kube::Error::BuildRequest)?;
    found(request(client, get).await, name)
}
