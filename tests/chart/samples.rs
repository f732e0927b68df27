//! The samples of `manifests/samples` on the release: each job ends as its sample says.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, Input, Phase, RunnerPool, yaml};
use fovea_harness::stack;
use fovea_tests::batches::{put, tar};
use fovea_tests::demo::answers;
use fovea_tests::installed::POOL;
use fovea_tests::pods::store;
use fovea_tests::{Installed, jobs};
use kube::ResourceExt as _;
use serde_json::Value;
use std::path::{Path, PathBuf};

const NAMESPACE: &str = "default";

fn samples() -> Result<Vec<(PathBuf, Value)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(stack::repository().join("manifests/samples"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        for document in yaml::documents::<Value>(&text) {
            found.push((path.clone(), document?));
        }
    }
    ensure!(!found.is_empty(), "no samples");
    Ok(found)
}

#[test]
fn every_sample_of_a_job_ends_with_a_result() -> Result<()> {
    Installed::shared(async |it| {
        // The path of the pictures in the samples.
        let (path, _) = answers::<String>("captions.json").pop_first().unwrap();
        let picture = std::fs::read(path)?;
        let visitor = it.visitor()?;
        let visitor = visitor.with_token(it.token(NAMESPACE, "samples", "edit").await?);
        for (path, _) in answers::<String>("captions.json") {
            let (status, job) = visitor.submit(&std::fs::read(path)?, &[]).await?;
            ensure!(status == 202, "{job}");
        }
        let store = store(&it.minio).await?;
        let mut applied = Vec::new();
        for (path, document) in samples()? {
            if document["kind"] != "InferenceJob" {
                continue;
            }
            let job: InferenceJob = serde_json::from_value(document)?;
            for (key, body) in objects(&job.spec.input, &picture) {
                put(&store, NAMESPACE, &key, body).await?;
            }
            apply(it, &format!("--namespace={NAMESPACE}"), &path).await?;
            applied.push((path, job));
        }
        for (path, job) in applied {
            let pool = job.spec.pool_ref.as_ref();
            let elsewhere = pool.is_some_and(|pool| pool.name != POOL);
            if job.spec.suspend || job.spec.cancel || elsewhere {
                continue;
            }
            let status = jobs::ended(&it.jobs, &job.name_any()).await?;
            let path = path.display();
            assert_eq!(status.phase, Phase::Succeeded, "{path}: {status:?}");
        }
        Ok(())
    })
}

/// What a sample's input is to find in the bucket.
fn objects(input: &Input, picture: &[u8]) -> Vec<(String, Vec<u8>)> {
    match input {
        Input::Upload { .. } | Input::Inline { .. } => Vec::new(),
        Input::Object { key } => vec![(key.clone(), picture.to_vec())],
        Input::Prefix { prefix, .. } => vec![(format!("{prefix}/1.jpg"), picture.to_vec())],
        Input::Manifest { key } => vec![
            ("cats/1.jpg".to_owned(), picture.to_vec()),
            (key.clone(), br#"{"key": "cats/1.jpg"}"#.to_vec()),
        ],
        Input::Archives { prefix } => {
            vec![(format!("{prefix}/1.tar"), tar([("1.jpg", picture)]))]
        }
    }
}

/// This cluster has neither their GPUs nor volumes: it only accepts them.
#[test]
fn every_sample_of_a_pool_is_taken() -> Result<()> {
    Installed::shared(async |it| {
        for (path, document) in samples()? {
            if document["kind"] != "RunnerPool" {
                continue;
            }
            serde_json::from_value::<RunnerPool>(document)
                .with_context(|| path.display().to_string())?;
            apply(it, "--dry-run=server", &path).await?;
        }
        Ok(())
    })
}

async fn apply(it: &Installed, flag: &str, path: &Path) -> Result<()> {
    let file = path.display().to_string();
    let arguments = ["apply", flag, "-f", &file];
    let applied = it.cluster.control_plane.kubectl(&arguments).await?;
    applied.success(&file)?;
    Ok(())
}
