//! A picture's result, by way of HTTP and by way of kubectl.

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use fovea_harness::eventually;
use fovea_harness::stack::{CAPTIONER, JOB_NAMESPACE, Stack};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a result may take.
const ENDED: Duration = Duration::from_mins(1);

/// The demo's pictures, and by their files what the models say of them.
pub(super) struct Samples {
    folder: PathBuf,
    captions: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    objects: BTreeMap<String, Vec<Labelled>>,
}

/// An object in a picture; its box is not compared.
#[derive(Deserialize)]
struct Labelled {
    label: String,
}

/// A picture with the expected result.
pub(super) struct Sample<T> {
    pub(super) file: String,
    pub(super) path: PathBuf,
    pub(super) expected: T,
}

impl Samples {
    /// Reads `captions.json`, `labels.json` and `objects.json`.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        fn answers<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
            let text =
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            Ok(serde_json::from_slice(&text)?)
        }
        Ok(Self {
            folder: folder.to_owned(),
            captions: answers(&folder.join("captions.json"))?,
            labels: answers(&folder.join("labels.json"))?,
            objects: answers(&folder.join("objects.json"))?,
        })
    }

    fn sample<T>(&self, file: &str, expected: T) -> Sample<T> {
        Sample {
            file: file.to_owned(),
            path: self.folder.join(file),
            expected,
        }
    }

    /// Two pictures with their captions.
    pub(super) fn captions(&self) -> Result<[Sample<String>; 2]> {
        let mut captions = self.captions.iter();
        match (captions.next(), captions.next()) {
            (Some((first, a)), Some((second, b))) => Ok([
                self.sample(first, a.clone()),
                self.sample(second, b.clone()),
            ]),
            _ => Err(anyhow!("captions.json has fewer than two pictures")),
        }
    }

    /// A picture of one thing, with its label.
    pub(super) fn label(&self) -> Result<Sample<String>> {
        let (file, label) = self.labels.iter().next().context("labels.json is empty")?;
        Ok(self.sample(file, label.clone()))
    }

    /// The picture of the most things, with their labels in alphabetical order.
    pub(super) fn objects(&self) -> Result<Sample<Vec<String>>> {
        let most = (self.objects.iter()).max_by_key(|(_, objects)| objects.len());
        let (file, objects) = most.context("objects.json is empty")?;
        let mut labels: Vec<_> = objects.iter().map(|object| object.label.clone()).collect();
        labels.sort();
        Ok(self.sample(file, labels))
    }
}

/// Uploads the picture, and polls the job as a client would; gives its result.
pub(super) async fn by_http(stack: &Stack, path: &Path, task: &str) -> Result<Value> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()?;
    let picture = reqwest::multipart::Part::bytes(std::fs::read(path)?).file_name("picture.jpg");
    let form = reqwest::multipart::Form::new()
        .part("file", picture)
        .text("task", task.to_owned());
    let accepted = client
        .post(format!("{}/v1/jobs", stack.api_url()))
        .multipart(form)
        .send()
        .await?;
    let status = accepted.status();
    let body: Value = accepted.json().await?;
    ensure!(
        status == reqwest::StatusCode::ACCEPTED,
        "the upload was answered {status}: {body}"
    );
    let id = body["id"].as_str().context("the answer has no id")?;
    println!("  202, job {id}");
    let url = format!("{}/v1/jobs/{id}", stack.api_url());
    let job = eventually(&format!("job {id} to end"), ENDED, || async {
        let job: Value = client
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
    })
    .await?;
    ensure!(job["result"].is_object(), "the job has no result: {job}");
    Ok(job["result"].clone())
}

/// Applies an `InferenceJob` that carries the picture itself, and waits as kubectl does; gives its
/// result.
pub(super) async fn caption_by_kubectl(stack: &Stack, path: &Path) -> Result<Value> {
    let name = "applied-by-kubectl";
    let data = base64::engine::general_purpose::STANDARD.encode(std::fs::read(path)?);
    let manifest = json!({
        "apiVersion": "fovea.dev/v1alpha1",
        "kind": "InferenceJob",
        "metadata": {"name": name, "namespace": JOB_NAMESPACE},
        "spec": {"task": "image-to-text", "model": CAPTIONER, "input": {"inline": {"data": data}}},
    });
    let cluster = &stack.control_plane;
    cluster
        .kubectl_with(&["apply", "-f", "-"], &manifest.to_string())
        .await?
        .success("apply")?;
    let timeout = format!("--timeout={}s", ENDED.as_secs());
    let wait = [
        "wait",
        &format!("ij/{name}"),
        "-n",
        JOB_NAMESPACE,
        "--for=jsonpath={.status.completionTime}",
        &timeout,
    ];
    cluster.kubectl(&wait).await?.success("wait")?;
    let get = ["get", "ij", name, "-n", JOB_NAMESPACE, "-o", "json"];
    let job: Value = serde_json::from_str(&cluster.kubectl(&get).await?.success("get ij")?)?;
    let result = &job["status"]["result"];
    ensure!(
        result.is_object(),
        "the job has no result: {}",
        job["status"]
    );
    Ok(result.clone())
}
