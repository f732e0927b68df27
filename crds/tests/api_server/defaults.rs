//! A job is stored as it was written, and Rust fills in what it omits. In a pool the API server fills in what
//! Rust fills in.

use crate::fixture::{Fixture, batch, job, pool, set};
use anyhow::Result;
use fovea_crds::{
    Autoscaling, Dtype, InferenceJob, InferenceJobSpec, Input, ModelSource, PoolModel, RunnerPool,
    RunnerPoolSpec, Task,
};
use kube::api::PostParams;
use serde_json::{Value, json};

#[tokio::test]
async fn a_job_is_stored_as_it_was_written_and_read_with_the_defaults_of_its_constructor()
-> Result<()> {
    let fixture = Fixture::new().await?;
    let stored = fixture.create::<InferenceJob>(job("defaults")).await?;
    assert_eq!(stored.data["spec"], job("defaults")["spec"]);
    let read: InferenceJob = serde_json::from_value(serde_json::to_value(stored)?)?;
    let key = "cats/1.jpg".to_owned();
    let spec = InferenceJobSpec::new(Task::ImageToText, Input::Object { key });
    assert_eq!(read.spec, spec);
    let every_default = json!({
        "task": "image-to-text",
        "input": {"object": {"key": "cats/1.jpg"}},
        "reuse": false,
        "priority": 0,
        "retry": {"limit": 3, "initialDelaySeconds": 60, "maxDelaySeconds": 600},
        "attemptDeadlineSeconds": 600,
        "queueDeadlineSeconds": 86_400,
        "suspend": false,
        "cancel": false,
    });
    assert_eq!(spec, serde_json::from_value(every_default)?);
    assert_eq!(job("defaults")["spec"], serde_json::to_value(spec)?);
    Ok(())
}

#[tokio::test]
async fn omitted_fields_of_retry_get_their_defaults() -> Result<()> {
    let fixture = Fixture::new().await?;
    let mut partly = job("partly");
    set(&mut partly, "spec.retry.limit", json!(0));
    let stored = fixture.create::<InferenceJob>(partly.clone()).await?;
    let read: InferenceJob = serde_json::from_value(partly)?;
    assert_eq!(
        stored.data["spec"]["retry"],
        serde_json::to_value(read.spec.retry)?
    );
    assert_eq!(read.spec.retry.max_delay_seconds, 600);
    Ok(())
}

#[tokio::test]
async fn a_batch_gets_the_defaults_of_rust_inside_its_parts() -> Result<()> {
    let fixture = Fixture::new().await?;
    let stored = fixture.create::<InferenceJob>(batch("batch")).await?;
    let read: InferenceJob = serde_json::from_value(batch("batch"))?;
    assert_eq!(stored.data["spec"], serde_json::to_value(&read.spec)?);
    let spec = &stored.data["spec"];
    assert_eq!(spec["input"], json!({"prefix": {"prefix": "cats"}}));
    assert_eq!(spec["output"], json!({"prefix": "out", "format": "jsonl"}));
    for omitted in ["parallelism", "maxFailedPermille"] {
        assert_eq!(spec.get(omitted), None);
    }
    Ok(())
}

#[tokio::test]
async fn a_pool_gets_the_defaults_of_its_rust_constructor() -> Result<()> {
    let fixture = Fixture::new().await?;
    let stored = fixture.create::<RunnerPool>(pool("defaults")).await?;
    let spec = RunnerPoolSpec::new(vec![PoolModel {
        name: "blip-base".to_owned(),
        task: Task::ImageToText,
        default: false,
        source: Some(ModelSource::Object {
            prefix: "blip/v1".to_owned(),
        }),
        dtype: Dtype::Auto,
        max_batch_size: 8,
    }]);
    assert_eq!(stored.data["spec"], serde_json::to_value(&spec)?);
    assert_eq!(stored.data["spec"]["replicas"], json!(1));
    Ok(())
}

#[tokio::test]
async fn a_pool_gets_the_same_defaults_inside_its_parts() -> Result<()> {
    let fixture = Fixture::new().await?;
    let mut written = pool("parts");
    set(&mut written, "spec.autoscaling", json!({"max": 4}));
    set(
        &mut written,
        "spec.models[0].source",
        json!({"huggingFace": {"repo": "a/b"}}),
    );
    set(
        &mut written,
        "spec.template",
        json!({"env": [{"name": "A"}]}),
    );
    set(&mut written, "spec.allowedNamespaces", json!({}));
    let read: RunnerPool = serde_json::from_value(written.clone())?;
    let stored = fixture.create::<RunnerPool>(written).await?;
    assert_eq!(stored.data["spec"], serde_json::to_value(&read.spec)?);
    assert_eq!(
        read.spec.autoscaling,
        Some(Autoscaling {
            min: 1,
            max: 4,
            idle_seconds: 300,
            target_queue_seconds: 30
        })
    );
    Ok(())
}

#[tokio::test]
async fn a_status_gets_the_defaults_of_rust() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<InferenceJob>(job("status")).await?;
    fixture.create::<RunnerPool>(pool("status")).await?;
    for untyped in [
        fixture.untyped::<InferenceJob>(),
        fixture.untyped::<RunnerPool>(),
    ] {
        let mut object = untyped.get("status").await?;
        object.data["status"] = json!({});
        let stored = untyped
            .replace_status("status", &PostParams::default(), &object)
            .await?;
        let kind = stored.types.map(|types| types.kind).unwrap_or_default();
        let rust: Value = match kind.as_str() {
            "InferenceJob" => serde_json::to_value(fovea_crds::InferenceJobStatus::default())?,
            _ => serde_json::to_value(fovea_crds::RunnerPoolStatus::default())?,
        };
        assert_eq!(stored.data["status"], rust, "{kind}");
    }
    Ok(())
}
