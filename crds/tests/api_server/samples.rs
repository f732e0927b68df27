//! The API server accepts the samples of this repository.

use crate::fixture::{Fixture, repository};
use anyhow::{Context, Result, ensure};
use fovea_crds::{InferenceJob, RunnerPool, yaml};
use kube::{Api, Resource, api::PostParams, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Debug, fs};

#[tokio::test]
async fn every_sample_can_be_applied() -> Result<()> {
    let fixture = Fixture::new().await?;
    let mut applied = Vec::new();
    for entry in fs::read_dir(repository("manifests/samples"))? {
        let path = entry?.path();
        let text = path.to_str().context("a path that is no text")?;
        let args = ["apply", "--validate=strict", "--dry-run=server", "-f", text];
        let answer = fixture.kubectl(&args, "").await?;
        ensure!(answer.contains("created"), "{text}: {answer}");
        applied.push(path.file_name().context("no name")?.to_owned());
    }
    ensure!(applied.len() >= 4, "{applied:?}");
    Ok(())
}

#[tokio::test]
async fn a_sample_is_stored_as_rust_reads_it() -> Result<()> {
    let fixture = Fixture::new().await?;
    for entry in fs::read_dir(repository("manifests/samples"))? {
        let text = fs::read_to_string(entry?.path())?;
        if text.contains("kind: InferenceJob") {
            let (read, stored) = through_the_server::<InferenceJob>(&fixture, &text).await?;
            assert_eq!(read.spec, stored.spec);
        } else {
            let (read, stored) = through_the_server::<RunnerPool>(&fixture, &text).await?;
            assert_eq!(read.spec, stored.spec);
        }
    }
    Ok(())
}

/// As tools ask, after a plain and after a server-side apply.
#[tokio::test]
async fn kubectl_diff_of_an_applied_sample_shows_nothing() -> Result<()> {
    let fixture = Fixture::new().await?;
    let folder = repository("manifests/samples");
    let folder = folder.to_str().context("a path that is no text")?;
    for side in ["--server-side=false", "--server-side"] {
        fixture.kubectl(&["apply", side, "-f", folder], "").await?;
        let diff = ["diff", side, "-n", fixture.namespace(), "-f", folder];
        let answer = fixture.plane.kubectl(&diff).await?;
        let shown = (answer.stdout.as_str(), answer.stderr.as_str());
        assert_eq!(shown, ("", ""), "{side}");
        ensure!(answer.status.success(), "{side}: {}", answer.status);
    }
    Ok(())
}

async fn through_the_server<K>(fixture: &Fixture, text: &str) -> Result<(K, K)>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    // By way of JSON's values: YAML alone wants a tag where JSON has an object's one key.
    let read: K = serde_json::from_value(yaml::parse(text)?)?;
    let api: Api<K> = fixture.api();
    let stored = api.create(&PostParams::default(), &read).await?;
    Ok((read, stored))
}
