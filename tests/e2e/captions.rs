//! Good pictures, by every way in.

use crate::support::{
    create, ended, has_condition, http, inline, jobs, sample, samples, stack, unique, visitor,
};
use anyhow::Result;
use fovea_crds::{JobResult, Phase};
use fovea_harness::stack::repository;
use futures::{StreamExt, TryStreamExt};
use kube::api::{WatchEvent, WatchParams};

#[tokio::test]
async fn every_demo_picture_gets_its_caption_by_upload() -> Result<()> {
    for (path, caption) in samples() {
        let picture = std::fs::read(&path)?;
        let job = visitor().await.submitted_and_ended(&picture, &[]).await?;
        assert_eq!(job["phase"], "Succeeded", "{job}");
        assert_eq!(job["result"]["caption"], *caption, "{}", path.display());
    }
    Ok(())
}

#[tokio::test]
async fn a_job_applied_by_kubectl_gets_its_caption_and_a_full_status() -> Result<()> {
    let (picture, caption) = sample();
    let job = create(&inline(&unique("inline"), &picture)).await?;
    let name = job.metadata.name.clone().unwrap();
    let status = ended(&name).await?;
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    assert_eq!(status.result, Some(JobResult::Caption(caption.clone())));
    assert_eq!(status.summary, Some(caption));
    assert_eq!((status.attempts, status.interruptions), (1, 0));
    assert_eq!(status.observed_generation, job.metadata.generation);
    // Each further one would cost the API server.
    assert_eq!(status.conditions.len(), 1);
    assert!(has_condition(&status, "Complete", "True"));
    assert_eq!(status.conditions[0].reason, "Succeeded");
    assert_eq!(status.pool_ref.unwrap().name, "default");
    assert!(status.model.unwrap().revision.starts_with("sha256:"));
    assert!(status.runner.is_some());
    assert!(status.start_time.is_some() && status.completion_time.is_some());
    let get = format!("get ij {name}");
    let listed = stack().await.control_plane.kubectl_line(&get).await?;
    assert!(listed.contains("Succeeded"), "{listed}");
    Ok(())
}

#[tokio::test]
async fn a_fast_job_costs_two_status_writes_at_most() -> Result<()> {
    let (picture, _) = sample();
    let name = unique("writes");
    let created = create(&inline(&name, &picture)).await?;
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
        if let Some(end) = job.status.and_then(|status| status.completion_time) {
            let begin = created.metadata.creation_timestamp.unwrap();
            let took = end.0.duration_since(begin.0);
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
        ids.push(job["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(visitor().await.job_ended(&ids[0]).await?["attempts"], 1);
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
