//! What of a job may change after it is made, and in which direction.

use crate::fixture::{Fixture, batch, job, remove, set};
use anyhow::{Context, Result, ensure};
use fovea_crds::InferenceJob;
use kube::{
    Api, CustomResourceExt,
    api::{DynamicObject, PostParams},
    core::Status,
};
use serde_json::{Value, json};

/// Every optional field with a value, and another one. `a_field_that_is_neither_listed..` keeps
/// the list whole.
fn optional_fields() -> Vec<(&'static str, Value, Value)> {
    vec![
        ("model", json!("a"), json!("b")),
        (
            "poolRef",
            json!({"name": "a"}),
            json!({"name": "a", "namespace": "b"}),
        ),
        ("parameters", json!({"prompt": "a"}), json!({"prompt": "b"})),
        ("activeDeadlineSeconds", json!(1), json!(2)),
        ("managedBy", json!("a.b/c"), json!("a.b/d")),
        (
            "callback",
            json!({"url": "https://a"}),
            json!({"url": "https://b"}),
        ),
    ]
}

/// Fields with a default: another value than the one of a job that omits them. Only the default may be added.
fn defaulted_fields() -> Vec<(&'static str, Value)> {
    vec![
        ("retry", json!({"limit": 4})),
        ("attemptDeadlineSeconds", json!(601)),
        ("queueDeadlineSeconds", json!(86_401)),
        ("reuse", json!(true)),
    ]
}

const REQUIRED: [&str; 2] = ["task", "input"];
const OF_BATCHES: [&str; 2] = ["output", "maxFailedPermille"];
const MUTABLE: [&str; 5] = [
    "suspend",
    "cancel",
    "priority",
    "parallelism",
    "ttlSecondsAfterFinished",
];

#[tokio::test]
async fn an_optional_field_cannot_be_added_changed_or_removed() -> Result<()> {
    let fixture = Fixture::new().await?;
    for (field, value, other) in optional_fields() {
        let path = format!("spec.{field}");
        let without = format!("{}-without", field.to_lowercase());
        let with = format!("{}-with", field.to_lowercase());
        fixture.create::<InferenceJob>(job(&without)).await?;
        let mut object = job(&with);
        set(&mut object, &path, value.clone());
        fixture.create::<InferenceJob>(object).await?;

        let added = replaced(&fixture, &without, |job| set(job, &path, value.clone()));
        refused(added.await?, &path).context("added")?;
        let changed = replaced(&fixture, &with, |job| set(job, &path, other.clone()));
        refused(changed.await?, &path).context("changed")?;
        let removed = replaced(&fixture, &with, |job| remove(job, &path));
        refused(removed.await?, &path).context("removed")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_setting_inside_an_optional_field_cannot_be_added_changed_or_removed() -> Result<()> {
    let fixture = Fixture::new().await?;
    let settings = [
        (
            "image-to-text",
            "spec.parameters.prompt",
            "spec.parameters.maxNewTokens",
            json!("a"),
            json!(7),
        ),
        (
            "image-to-text",
            "spec.parameters.maxNewTokens",
            "spec.parameters.prompt",
            json!(7),
            json!("a"),
        ),
        (
            "image-to-text",
            "spec.parameters.numBeams",
            "spec.parameters.prompt",
            json!(2),
            json!("a"),
        ),
        (
            "image-to-text",
            "spec.poolRef.namespace",
            "spec.parameters.prompt",
            json!("a"),
            json!("a"),
        ),
    ];
    for (number, (task, path, another, value, another_value)) in settings.into_iter().enumerate() {
        let name = format!("nested-{number}");
        let mut with = job(&name);
        set(&mut with, "spec.task", json!(task));
        set(&mut with, "spec.poolRef.name", json!("p"));
        set(&mut with, path, value);
        fixture.create::<InferenceJob>(with).await?;
        refused(
            replaced(&fixture, &name, |job| remove(job, path)).await?,
            top(path),
        )
        .context("removed")?;
        let added = replaced(&fixture, &name, |job| {
            set(job, another, another_value.clone());
        });
        refused(added.await?, top(another)).context("added")?;
    }
    for (task, path, value) in [
        ("image-classification", "spec.parameters.topK", json!(5)),
        (
            "object-detection",
            "spec.parameters.scoreThresholdPermille",
            json!(900),
        ),
    ] {
        let mut with = job(task);
        set(&mut with, "spec.task", json!(task));
        set(&mut with, path, value);
        fixture.create::<InferenceJob>(with).await?;
        refused(
            replaced(&fixture, task, |job| remove(job, path)).await?,
            top(path),
        )
        .context("removed")?;
        let changed = replaced(&fixture, task, |job| set(job, path, json!(6)));
        refused(changed.await?, top(path)).context("changed")?;
    }
    Ok(())
}

#[tokio::test]
async fn task_input_and_defaults_are_immutable() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<InferenceJob>(job("fixed")).await?;
    let inputs = [
        json!({"object": {"key": "cats/2.jpg"}}),
        json!({"upload": {"sha256": "0".repeat(64)}}),
        json!({"inline": {"data": "AAAA"}}),
        json!({"prefix": {"prefix": "cats"}}),
    ];
    for input in inputs {
        let changed = replaced(&fixture, "fixed", |job| {
            set(job, "spec.input", input.clone());
        });
        refused(changed.await?, "spec.input")?;
    }
    let changed = replaced(&fixture, "fixed", |job| {
        set(job, "spec.task", json!("object-detection"));
    });
    refused(changed.await?, "spec.task")?;
    for (field, value) in defaulted_fields() {
        let path = format!("spec.{field}");
        let changed = replaced(&fixture, "fixed", |job| set(job, &path, value.clone()));
        refused(changed.await?, &path)?;
    }
    // A manifest may write out what it omitted, and omit it again.
    for (field, value) in [
        ("retry", json!({})),
        (
            "retry",
            json!({"limit": 3, "initialDelaySeconds": 60, "maxDelaySeconds": 600}),
        ),
        ("attemptDeadlineSeconds", json!(600)),
        ("queueDeadlineSeconds", json!(86_400)),
        ("reuse", json!(false)),
    ] {
        let path = format!("spec.{field}");
        let written_out = replaced(&fixture, "fixed", |job| set(job, &path, value)).await?;
        ensure!(written_out.is_ok(), "{path} written out");
        let left_out = replaced(&fixture, "fixed", |job| remove(job, &path));
        ensure!(left_out.await?.is_ok(), "{path} left out");
    }
    Ok(())
}

#[tokio::test]
async fn suspend_priority_and_time_to_live_can_change_at_any_time() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<InferenceJob>(job("free")).await?;
    for (path, value) in [
        ("spec.suspend", json!(true)),
        ("spec.suspend", json!(false)),
        ("spec.priority", json!(1000)),
        ("spec.priority", json!(-1000)),
        ("spec.ttlSecondsAfterFinished", json!(60)),
        ("spec.ttlSecondsAfterFinished", json!(0)),
    ] {
        let changed = replaced(&fixture, "free", |job| set(job, path, value.clone())).await?;
        changed.map_err(|status| anyhow::anyhow!("{path}: {}", status.message))?;
    }
    let removed = replaced(&fixture, "free", |job| {
        remove(job, "spec.ttlSecondsAfterFinished");
    });
    ensure!(removed.await?.is_ok(), "ttlSecondsAfterFinished removed");
    Ok(())
}

#[tokio::test]
async fn of_a_batch_only_the_parallelism_can_change() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<InferenceJob>(batch("many")).await?;
    let bounded = "many-bounded";
    let mut with_bound = batch(bounded);
    set(&mut with_bound, "spec.maxFailedPermille", json!(10));
    fixture.create::<InferenceJob>(with_bound).await?;
    for (name, path, value) in [
        ("many", "spec.input.prefix.prefix", json!("dogs")),
        ("many", "spec.input.prefix.include", json!(["*.jpg"])),
        ("many", "spec.input.prefix.exclude", json!(["*.png"])),
        (
            "many",
            "spec.input",
            json!({"manifest": {"key": "list.jsonl"}}),
        ),
        ("many", "spec.output.prefix", json!("elsewhere")),
        ("many", "spec.output.format", json!("csv")),
        ("many", "spec.maxFailedPermille", json!(10)),
        (bounded, "spec.maxFailedPermille", json!(20)),
    ] {
        let field: Vec<&str> = path.split('.').take(2).collect();
        let changed = replaced(&fixture, name, |job| set(job, path, value)).await?;
        refused(changed, &field.join("."))?;
    }
    for (name, path) in [("many", "spec.output"), (bounded, "spec.maxFailedPermille")] {
        let removed = replaced(&fixture, name, |job| remove(job, path)).await?;
        refused(removed, path).context("removed")?;
    }
    for parallelism in [json!(0), json!(7)] {
        let changed = replaced(&fixture, "many", |job| {
            set(job, "spec.parallelism", parallelism.clone());
        });
        ensure!(changed.await?.is_ok(), "parallelism {parallelism}");
    }
    let removed = replaced(&fixture, "many", |job| remove(job, "spec.parallelism"));
    ensure!(removed.await?.is_ok(), "parallelism removed");
    Ok(())
}

#[tokio::test]
async fn a_cancelled_job_stays_cancelled() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<InferenceJob>(job("cancelled")).await?;
    let cancelled = replaced(&fixture, "cancelled", |job| {
        set(job, "spec.cancel", json!(true));
    });
    ensure!(cancelled.await?.is_ok(), "cancel was refused");
    let message = "spec.cancel cannot be taken back: create a new InferenceJob instead";
    for taken_back in [
        replaced(&fixture, "cancelled", |job| {
            set(job, "spec.cancel", json!(false));
        })
        .await?,
        replaced(&fixture, "cancelled", |job| remove(job, "spec.cancel")).await?,
    ] {
        let status = taken_back.err().context("cancel was taken back")?;
        ensure!(status.message.contains(message), "{}", status.message);
    }
    Ok(())
}

#[test]
fn a_field_that_is_neither_listed_here_nor_mutable_does_not_exist() {
    let schema = serde_json::to_value(InferenceJob::crd()).unwrap();
    let spec = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let optional = optional_fields().into_iter().map(|(field, ..)| field);
    let defaulted = defaulted_fields().into_iter().map(|(field, _)| field);
    let mut listed: Vec<&str> = optional
        .chain(defaulted)
        .chain(REQUIRED)
        .chain(OF_BATCHES)
        .chain(MUTABLE)
        .collect();
    listed.sort_unstable();
    let fields: Vec<&String> = spec["properties"].as_object().unwrap().keys().collect();
    assert_eq!(listed, fields);
}

/// Reads the job, edits it and puts it back.
async fn replaced(
    fixture: &Fixture,
    name: &str,
    edit: impl FnOnce(&mut Value),
) -> Result<Result<DynamicObject, Box<Status>>> {
    let api: Api<DynamicObject> = fixture.untyped::<InferenceJob>();
    let mut object = serde_json::to_value(api.get(name).await?)?;
    edit(&mut object);
    let object: DynamicObject = serde_json::from_value(object)?;
    match api.replace(name, &PostParams::default(), &object).await {
        Ok(object) => Ok(Ok(object)),
        Err(kube::Error::Api(status)) => Ok(Err(status)),
        Err(error) => Err(error.into()),
    }
}

fn refused(answer: Result<DynamicObject, Box<Status>>, path: &str) -> Result<()> {
    let status = answer.err().with_context(|| format!("{path} was taken"))?;
    let says = format!("{path} is immutable: create a new InferenceJob instead");
    let causes = status.details.iter().flat_map(|details| &details.causes);
    ensure!(
        causes
            .into_iter()
            .any(|cause| cause.field == "spec" && cause.message.contains(&says)),
        "{path}: {}",
        status.message
    );
    Ok(())
}

/// `spec.parameters.prompt` is fixed as part of `spec.parameters`.
fn top(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(parent, _)| parent)
}
