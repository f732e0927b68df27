//! The stack, the pictures in its bucket, and what a batch costs in it.

use crate::Arguments;
use crate::peer::Peer;
use anyhow::{Context as _, ensure};
use axum::http::Request;
use fovea_crds::{
    InferenceJob, InferenceJobSpec, InferenceJobStatus, Input, Phase, RunnerPool, Task,
};
use fovea_harness::stack::{JOB_NAMESPACE, SYSTEM_NAMESPACE};
use fovea_harness::{Stack, StackOptions};
use fovea_protocol::RunnerState;
use fovea_store::Store;
use fovea_tests::measure::processor_ms;
use fovea_tests::{batches, pods, tiny};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The model that does next to nothing.
pub(crate) const TINY: &str = "tiny";
/// Bound on one batch.
const PATIENCE: Duration = Duration::from_hours(1);

pub(crate) struct Setting {
    pub(crate) stack: Stack,
    pub(crate) store: Store,
    pub(crate) jobs: Api<InferenceJob>,
    pub(crate) client: Client,
    /// With the pictures, their archives and the tiny model.
    pub(crate) folder: tempfile::TempDir,
    pub(crate) http: reqwest::Client,
}

/// How fast a batch was, and its cost.
pub(crate) struct Turn {
    pub(crate) per_second: f64,
    /// Processor time per picture, in milliseconds: the stack's, in the order of [`Setting::pids`].
    pub(crate) processor_ms: Vec<f64>,
}

impl Setting {
    pub(crate) async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir()?;
        let model = folder.path().join(TINY);
        std::fs::create_dir(&model)?;
        tiny::write(&model)?;
        let options = StackOptions {
            runner_flags: vec![
                format!("--model={TINY}={}", model.display()),
                format!("--max-batch-size={}", arguments.max_batch_size),
            ],
            env: vec![("RUST_LOG".to_owned(), "warn".to_owned())],
            ..StackOptions::default()
        };
        let stack = Stack::start(options, |line| eprintln!("{line}")).await?;
        let client = stack.control_plane.client().await?;
        let setting = Self {
            store: pods::store(&stack.store).await?,
            jobs: Api::namespaced(client.clone(), JOB_NAMESPACE),
            stack,
            client,
            folder,
            http: reqwest::Client::builder().no_proxy().build()?,
        };
        setting.serve_the_tiny_model().await?;
        Ok(setting)
    }

    async fn serve_the_tiny_model(&self) -> anyhow::Result<()> {
        let pools: Api<RunnerPool> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        let mut models = json!(pools.get("default").await?.spec.models);
        let list = models.as_array_mut().context("a list")?;
        list.push(json!({"name": TINY, "task": "image-classification"}));
        let patch = Patch::Merge(json!({"spec": {"models": models}}));
        pools
            .patch("default", &PatchParams::default(), &patch)
            .await?;
        let ready = |pool: Option<&RunnerPool>| {
            let status = pool.and_then(|pool| pool.status.as_ref());
            status.is_some_and(|status| {
                status
                    .models
                    .iter()
                    .any(|model| model.name == TINY && model.ready)
            })
        };
        tokio::time::timeout(PATIENCE, await_condition(pools, "default", ready)).await??;
        Ok(())
    }

    /// Draws the pictures, and writes them and their archives to the bucket.
    pub(crate) async fn draw(&mut self, peer: &mut Peer, count: usize) -> anyhow::Result<()> {
        let bytes = peer.draw(count, self.folder.path()).await?;
        eprintln!("{count} pictures, {bytes} bytes in all");
        for folder in ["pictures", "archives"] {
            let mut objects = Vec::new();
            for entry in std::fs::read_dir(self.folder.path().join(folder))? {
                let path = entry?.path();
                let name = path.file_name().context("a file")?.to_string_lossy();
                objects.push((format!("{folder}/{name}"), std::fs::read(&path)?));
            }
            batches::put_all(&self.store, JOB_NAMESPACE, objects).await?;
        }
        Ok(())
    }

    /// The parts whose processor time is read, by name.
    pub(crate) fn pids(&mut self) -> [(&'static str, u32); 5] {
        [
            ("MinIO", self.stack.store.process().pid()),
            ("etcd", self.stack.control_plane.etcd().pid()),
            (
                "kube-apiserver",
                self.stack.control_plane.api_server().pid(),
            ),
            ("fovea-operator", self.stack.operator.pid()),
            ("fovea-runner", self.stack.runner.pid()),
        ]
    }

    pub(crate) fn processor(&mut self) -> anyhow::Result<Vec<f64>> {
        self.pids()
            .iter()
            .map(|(_, pid)| processor_ms(*pid))
            .collect()
    }

    /// A batch of labels that is not created yet.
    pub(crate) fn batch(name: &str, model: &str, input: Input) -> InferenceJob {
        let mut job = batches::batch(name, Task::ImageClassification, input, "out");
        job.spec.model = Some(model.to_owned());
        job.spec.parameters.top_k = Some(1);
        job
    }

    /// Runs a batch of `count` pictures to its end, and deletes it.
    pub(crate) async fn turn(&mut self, job: &InferenceJob, count: usize) -> anyhow::Result<Turn> {
        let name = job.metadata.name.clone().context("no name")?;
        let before = self.processor()?;
        let began = Instant::now();
        self.jobs.create(&PostParams::default(), job).await?;
        let status = self.ended(&name).await?;
        let wall = began.elapsed().as_secs_f64();
        let after = self.processor()?;
        let counts = status.counts.unwrap_or_default();
        ensure!(
            status.phase == Phase::Succeeded && counts.succeeded == count as u64,
            "{status:?}"
        );
        self.jobs.delete(&name, &DeleteParams::default()).await?;
        let each = |(after, before): (f64, f64)| (after - before) / as_f64(count);
        Ok(Turn {
            per_second: as_f64(count) / wall,
            processor_ms: after.into_iter().zip(before).map(each).collect(),
        })
    }

    pub(crate) async fn ended(&self, name: &str) -> anyhow::Result<InferenceJobStatus> {
        let ended = |job: Option<&InferenceJob>| {
            let status = job.and_then(|job| job.status.as_ref());
            status.is_some_and(|status| status.phase.is_terminal())
        };
        let waiting = await_condition(self.jobs.clone(), name, ended);
        let job = tokio::time::timeout(PATIENCE, waiting).await??;
        job.and_then(|job| job.status).context("no status")
    }

    /// What the runner says of itself.
    pub(crate) async fn runner_state(&self, url: &str, token: &str) -> anyhow::Result<RunnerState> {
        let path = format!("{url}{}", fovea_protocol::MODELS_PATH);
        let answer = self.http.get(path).bearer_auth(token).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// The runner's URL and token.
    pub(crate) async fn runner(&self) -> anyhow::Result<(String, String)> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        let data = secrets.get("demo-runner").await?.data.unwrap_or_default();
        let text = |name: &str| -> anyhow::Result<String> {
            Ok(String::from_utf8(
                data.get(name).context("no such key")?.0.clone(),
            )?)
        };
        Ok((format!("http://{}", text("hosts")?), text("token")?))
    }

    /// Requests that the API server has answered: all, and those for jobs.
    pub(crate) async fn requests(&self) -> anyhow::Result<(f64, f64)> {
        let request = Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await?;
        let (mut all, mut jobs) = (0.0, 0.0);
        for line in text
            .lines()
            .filter(|line| line.starts_with("apiserver_request_total{"))
        {
            let value: f64 = line.rsplit(' ').next().context("no value")?.parse()?;
            all += value;
            if line.contains("resource=\"inferencejobs\"") {
                jobs += value;
            }
        }
        Ok((all, jobs))
    }

    pub(crate) fn pictures(&self) -> PathBuf {
        self.folder.path().join("pictures")
    }
}

/// `spec.input` of the pictures, as a prefix.
pub(crate) fn prefix() -> Input {
    batches::prefix("pictures")
}

/// `spec.input` of the pictures, as archives.
pub(crate) fn archives() -> Input {
    Input::Archives {
        prefix: "archives".to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of pictures are small")]
pub(crate) fn as_f64(count: usize) -> f64 {
    count as f64
}

/// A job of one picture in the bucket.
pub(crate) fn single(name: &str, number: usize) -> InferenceJob {
    let key = format!("pictures/{number:06}.jpg");
    let mut spec = InferenceJobSpec::new(Task::ImageClassification, Input::Object { key });
    spec.model = Some(TINY.to_owned());
    spec.parameters.top_k = Some(1);
    InferenceJob::new(name, spec)
}
