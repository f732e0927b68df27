//! A picture's caption, by way of HTTP and by way of kubectl.

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine as _;
use fovea_dev::eventually;
use fovea_dev::stack::{CAPTIONER, JOB_NAMESPACE, Stack};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a caption may take.
const CAPTIONED: Duration = Duration::from_mins(1);

/// The demo's pictures and what they show.
pub(super) struct Samples {
    samples: Vec<Sample>,
}

/// One picture.
pub(super) struct Sample {
    /// Its file's name.
    pub(super) file: String,
    /// Where it lies.
    pub(super) path: PathBuf,
    /// What it shows.
    pub(super) caption: String,
}

impl Samples {
    /// Reads `captions.json`: file names to captions.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("captions.json");
        let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let captions: BTreeMap<String, String> = serde_json::from_slice(&text)?;
        let sample = |(file, caption): (String, String)| Sample {
            path: folder.join(&file),
            file,
            caption,
        };
        Ok(Self {
            samples: captions.into_iter().map(sample).collect(),
        })
    }

    /// Two different ones.
    pub(super) fn first_two(&self) -> Result<[&Sample; 2]> {
        match self.samples.as_slice() {
            [first, second, ..] => Ok([first, second]),
            _ => bail!("models/demo/pictures has fewer than two pictures"),
        }
    }
}

/// Uploads the picture, and polls the job as a client would.
pub(super) async fn caption_by_http(stack: &Stack, sample: &Sample) -> Result<String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()?;
    let picture = reqwest::multipart::Part::bytes(std::fs::read(&sample.path)?)
        .file_name(sample.file.clone());
    let form = reqwest::multipart::Form::new().part("file", picture);
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
    let id = body["id"]
        .as_str()
        .context("the answer has no id")?
        .to_owned();
    println!("  202, job {id}");
    let url = format!("{}/v1/jobs/{id}", stack.api_url());
    let job = eventually(&format!("job {id} to end"), CAPTIONED, || async {
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
    let caption = job["result"]["caption"].as_str();
    Ok(caption
        .with_context(|| format!("the job has no caption: {job}"))?
        .to_owned())
}

/// Applies an InferenceJob that carries the picture itself, and waits as kubectl does.
pub(super) async fn caption_by_kubectl(stack: &Stack, sample: &Sample) -> Result<String> {
    let name = "applied-by-kubectl";
    let data = base64::engine::general_purpose::STANDARD.encode(std::fs::read(&sample.path)?);
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
    let timeout = format!("--timeout={}s", CAPTIONED.as_secs());
    let wait = [
        "wait",
        &format!("ij/{name}"),
        "-n",
        JOB_NAMESPACE,
        "--for=condition=Complete",
        &timeout,
    ];
    cluster.kubectl(&wait).await?.success("wait")?;
    let get = ["get", "ij", name, "-n", JOB_NAMESPACE, "-o", "json"];
    let job: Value = serde_json::from_str(&cluster.kubectl(&get).await?.success("get ij")?)?;
    let caption = job["status"]["result"]["caption"].as_str();
    Ok(caption
        .with_context(|| format!("the job has no caption: {}", job["status"]))?
        .to_owned())
}
