//! Models that are put to a running runner.

use crate::harness::{PATIENCE, Runner, caption, inline, refusal, request, settings, until};
use crate::store::Store;
use crate::support::{checkpoint, expected, picture};
use fovea_protocol::{
    Dtype, MODELS_PATH, ModelFile, ModelRequest, ModelSource, ModelState, Reason, RunnerState, Task,
};
use fovea_runner::server::KeepConfig;
use reqwest::StatusCode;
use sha2::{Digest, Sha256};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn put(source: ModelSource) -> ModelRequest {
    ModelRequest {
        installation: "i".to_owned(),
        epoch: 1,
        task: Task::ImageToText,
        source,
        dtype: None,
        max_batch_size: None,
    }
}

fn path(path: &str) -> ModelRequest {
    put(ModelSource::Path(path.to_owned()))
}

/// The golden checkpoint's files, as presigned GETs of the store.
fn files(store: &Store) -> Vec<ModelFile> {
    [
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "model.safetensors",
    ]
    .map(|file| {
        let contents = std::fs::read(checkpoint().join(file)).unwrap();
        ModelFile {
            path: file.to_owned(),
            url: store.presigned(&format!("/model/{file}")),
            bytes: contents.len() as u64,
            sha256: hex::encode(Sha256::digest(&contents)),
        }
    })
    .to_vec()
}

fn fetched(files: Vec<ModelFile>) -> ModelRequest {
    let revision = format!("owner/name@{COMMIT}");
    put(ModelSource::Files { revision, files })
}

async fn runner(keep: KeepConfig) -> Runner {
    let mut settings = settings();
    settings.keep = keep;
    Runner::start_empty(settings).await
}

async fn volume() -> Runner {
    runner(KeepConfig {
        models_dir: Some(checkpoint().parent().unwrap().to_owned()),
        ..KeepConfig::default()
    })
    .await
}

async fn caching(dir: &Path) -> Runner {
    runner(KeepConfig {
        cache_dir: Some(dir.to_owned()),
        ..KeepConfig::default()
    })
    .await
}

/// The runner's status of its model `golden`.
async fn golden(runner: &Runner) -> ModelState {
    let state: RunnerState =
        serde_json::from_slice(&runner.get(MODELS_PATH).await.bytes().await.unwrap()).unwrap();
    (state.models.into_iter())
        .find(|model| model.name == "golden")
        .unwrap()
}

/// Waits for the runner's error about the model `golden`.
async fn failure(runner: &Runner) -> String {
    until(async || golden(runner).await.failure.is_some()).await;
    golden(runner).await.failure.unwrap()
}

async fn answers(runner: &Runner) {
    runner.until_ready().await;
    let first = &expected().pictures[0];
    let line = runner
        .last_line(&request(inline(&picture(&first.file))))
        .await;
    assert_eq!(caption(&line), first.greedy.caption);
}

#[tokio::test]
async fn a_runner_without_models_is_not_ready_until_one_that_was_put_is_warm() {
    let runner = volume().await;
    let refused = refusal(runner.get("/readyz").await).await;
    assert_eq!(refused.reason, Reason::NotReady);
    let put = runner.put("/v1/models/golden", &path("blip")).await;
    assert_eq!(put.status(), StatusCode::ACCEPTED);
    answers(&runner).await;
    assert!(golden(&runner).await.revision.starts_with("sha256:"));
}

#[tokio::test]
async fn a_model_has_the_type_and_the_batches_that_it_is_put_with() {
    let runner = volume().await;
    let mut half = path("blip");
    half.dtype = Some(Dtype::Bfloat16);
    runner.put("/v1/models/golden", &half).await;
    runner.until_ready().await;
    let line = runner
        .last_line(&request(inline(&picture(&expected().pictures[0].file))))
        .await;
    // Lower precision may change words; any caption will do.
    assert!(!caption(&line).is_empty());

    // The same model of another type is another model, and loaded anew.
    let halved = runner.engine.model("golden").unwrap();
    let mut whole = path("blip");
    whole.dtype = Some(Dtype::Float32);
    whole.max_batch_size = NonZeroU32::new(1);
    runner.put("/v1/models/golden", &whole).await;
    until(async || !Arc::ptr_eq(&halved, &runner.engine.model("golden").unwrap())).await;
    answers(&runner).await;
}

#[tokio::test]
async fn the_same_put_again_leaves_the_model_as_it_is() {
    let runner = volume().await;
    runner.put("/v1/models/golden", &path("blip")).await;
    runner.until_ready().await;
    let put = runner.put("/v1/models/golden", &path("blip")).await;
    assert_eq!(put.status(), StatusCode::ACCEPTED);
    // A model that is loaded again would not be ready in this answer.
    assert!(golden(&runner).await.ready);
    answers(&runner).await;
}

#[tokio::test]
async fn files_are_fetched_by_presigned_gets_and_kept_for_the_next_start() {
    let (store, dir) = (Store::start().await, tempfile::tempdir().unwrap());
    let runner = caching(dir.path()).await;
    let put = runner
        .put("/v1/models/golden", &fetched(files(&store)))
        .await;
    assert_eq!(put.status(), StatusCode::ACCEPTED);
    answers(&runner).await;
    assert_eq!(golden(&runner).await.revision, COMMIT);

    // The same files at a store that has gone: they exist already.
    let mut elsewhere = files(&store);
    for file in &mut elsewhere {
        file.url = "http://127.0.0.1:9/gone".to_owned();
    }
    let restarted = caching(dir.path()).await;
    restarted
        .put("/v1/models/golden", &fetched(elsewhere))
        .await;
    answers(&restarted).await;
}

#[tokio::test]
async fn a_file_with_the_wrong_digest_is_reported_and_the_right_one_may_follow() {
    let (store, dir) = (Store::start().await, tempfile::tempdir().unwrap());
    let runner = caching(dir.path()).await;
    let mut wrong = files(&store);
    wrong[0].sha256 = "0".repeat(64);
    runner.put("/v1/models/golden", &fetched(wrong)).await;
    let why = failure(&runner).await;
    assert!(
        why.contains("config.json") && !why.contains("secret"),
        "{why}"
    );
    runner
        .put("/v1/models/golden", &fetched(files(&store)))
        .await;
    answers(&runner).await;
}

#[tokio::test]
async fn a_folder_without_a_checkpoint_or_for_another_task_is_reported() {
    let runner = volume().await;
    runner.put("/v1/models/golden", &path("absent")).await;
    let why = failure(&runner).await;
    assert!(why.contains("absent/config.json"), "{why}");
    let mut other_task = path("blip");
    other_task.task = Task::ObjectDetection;
    runner.put("/v1/models/golden", &other_task).await;
    until(async || failure(&runner).await.contains("ObjectDetection")).await;
    let refused = refusal(runner.get("/readyz").await).await;
    assert_eq!(refused.reason, Reason::NotReady);
}

#[tokio::test]
async fn an_invalid_put_is_malformed_and_a_lower_epoch_is_stale() {
    let runner = volume().await;
    let malformed = |name: &'static str, put: ModelRequest| (name, put, Reason::MalformedRequest);
    let cases = [
        malformed("golden", path("../server")),
        malformed("golden", path("/etc")),
        malformed("golden", path("")),
        malformed("golden", fetched(Vec::new())),
        malformed("Golden", path("blip")),
    ];
    for (name, put, reason) in cases {
        let refused = runner.put(&format!("/v1/models/{name}"), &put).await;
        let refused = refusal(refused).await;
        assert_eq!(refused.reason, reason, "{name} {put:?}");
    }
    runner.put_leader("i", 2).await;
    let refused = runner.put("/v1/models/golden", &path("blip")).await;
    assert_eq!(refusal(refused).await.reason, Reason::StaleEpoch);
    // No work began.
    let refused = refusal(runner.get("/readyz").await).await;
    assert_eq!(refused.reason, Reason::NotReady);
}

#[tokio::test]
async fn another_source_under_the_same_name_replaces_the_model() {
    let (store, dir) = (Store::start().await, tempfile::tempdir().unwrap());
    let runner = runner(KeepConfig {
        models_dir: Some(checkpoint().parent().unwrap().to_owned()),
        cache_dir: Some(dir.path().to_owned()),
        ..KeepConfig::default()
    })
    .await;
    runner.put("/v1/models/golden", &path("blip")).await;
    runner.until_ready().await;
    runner
        .put("/v1/models/golden", &fetched(files(&store)))
        .await;
    let folder = (dir.path()).join(format!("owner-name@{COMMIT}/model.safetensors"));
    tokio::time::timeout(PATIENCE, async {
        until(async || folder.exists()).await;
    })
    .await
    .unwrap();
    answers(&runner).await;
}
