//! Good pictures, by every way in.

use crate::support::{
    create, ended, ended_by_http, http, inline_job, jobs, sample, samples, stack, unique, upload,
};
use anyhow::Result;
use fovea_crds::{JobResult, Phase};
use fovea_harness::stack::repository;
use futures::{StreamExt, TryStreamExt};
use kube::api::{WatchEvent, WatchParams};

#[tokio::test]
async fn every_demo_picture_gets_its_caption_by_upload() -> Result<()> {
    for (path, caption) in samples() {
        let (status, job) = upload(&std::fs::read(&path)?, "picture.jpg").await?;
        assert_eq!(status, 202, "{job}");
        let job = ended_by_http(job["id"].as_str().unwrap()).await?;
        assert_eq!(job["phase"], "Succeeded", "{job}");
        assert_eq!(job["result"]["caption"], *caption, "{}", path.display());
    }
    Ok(())
}

#[tokio::test]
async fn a_job_applied_by_kubectl_gets_its_caption_and_a_full_status() -> Result<()> {
    let (picture, caption) = sample();
    let job = create(&inline_job(&unique("inline"), &picture)).await?;
    let name = job.metadata.name.clone().unwrap();
    let status = ended(&name).await?;
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    assert_eq!(status.result, Some(JobResult::Caption(caption.clone())));
    assert_eq!(status.summary, Some(caption));
    assert_eq!((status.attempts, status.interruptions), (1, 0));
    assert_eq!(status.observed_generation, job.metadata.generation);
    assert_eq!(
        status.pool_ref.map(|pool| pool.name).as_deref(),
        Some("default")
    );
    assert!(
        status
            .model
            .is_some_and(|model| model.revision.starts_with("sha256:"))
    );
    assert!(
        status.runner.is_some() && status.start_time.is_some() && status.completion_time.is_some()
    );
    for type_ in ["Accepted", "Scheduled", "Complete"] {
        let condition = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_);
        assert!(
            condition.is_some_and(|c| c.status == "True" && !c.reason.is_empty()),
            "{type_}"
        );
    }
    let listed = stack()
        .await
        .control_plane
        .kubectl(&["get", "ij", &name])
        .await?
        .stdout;
    assert!(listed.contains("Succeeded"), "{listed}");
    Ok(())
}

#[tokio::test]
async fn a_fast_job_costs_two_status_writes_at_most() -> Result<()> {
    let (picture, _) = sample();
    let name = unique("writes");
    let created = create(&inline_job(&name, &picture)).await?;
    let from = created.metadata.resource_version.clone().unwrap();
    let params = WatchParams::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(90);
    let mut versions = jobs().await.watch(&params, &from).await?.boxed();
    let mut writes = 0;
    while let Some(event) = versions.try_next().await? {
        let WatchEvent::Modified(job) = event else {
            continue;
        };
        writes += 1;
        if job
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_terminal())
        {
            let status = job.status.unwrap();
            let took = status
                .completion_time
                .unwrap()
                .0
                .duration_since(created.metadata.creation_timestamp.unwrap().0);
            // A job that had to wait has one more update.
            let most = if took.as_secs() < 2 { 2 } else { 3 };
            assert!(writes <= most, "{writes} writes in {took:#}");
            return Ok(());
        }
    }
    panic!("the watch ended before the job");
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_job() -> Result<()> {
    let (picture, _) = sample();
    let key = unique("key");
    let url = format!("{}/v1/jobs", stack().await.api_url());
    let mut ids = Vec::new();
    for _ in 0..2 {
        let request = http()
            .post(&url)
            .header("idempotency-key", &key)
            .header("content-type", "image/jpeg");
        let answer = request.body(picture.clone()).send().await?;
        assert_eq!(answer.status(), 202);
        let job: serde_json::Value = answer.json().await?;
        ids.push(job["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ended_by_http(&ids[0]).await?["attempts"], 1);
    Ok(())
}

#[tokio::test]
async fn the_sample_that_the_demo_names_works_as_it_is() -> Result<()> {
    let cluster = &stack().await.control_plane;
    let sample = repository().join("manifests/samples/image-to-text-inline.yaml");
    let apply = ["apply", "-f", &sample.display().to_string()];
    cluster.kubectl(&apply).await?.success("apply")?;
    let status = ended("caption-inline").await?;
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    Ok(())
}
