//! What `kubectl get` shows and selects.

use crate::fixture::{Fixture, batch, job, pool, set};
use anyhow::{Result, ensure};
use fovea_crds::{
    Counts, Failure, InferenceJob, InferenceJobStatus, JobResult, Phase, Prediction, RunnerPool,
    RunnerPoolStatus, ServedModel,
};
use fovea_harness::eventually;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;
use std::time::Duration;

const PUBLISHED: Duration = Duration::from_mins(1);

#[tokio::test]
async fn get_shows_task_model_phase_attempts_result_and_age() -> Result<()> {
    let fixture = Fixture::new().await?;
    finished(
        &fixture,
        "captioned",
        succeeded("blip", JobResult::Caption("a red circle".into())),
    )
    .await?;
    let prediction = Prediction {
        label: "tabby".into(),
        score: 0.914,
    };
    finished(
        &fixture,
        "classified",
        succeeded("vit", JobResult::Predictions(vec![prediction])),
    )
    .await?;
    let failure = Failure {
        reason: "InvalidPicture".into(),
        message: "not a picture".into(),
        retryable: false,
    };
    let failed = InferenceJobStatus {
        phase: Phase::Failed,
        failure: Some(failure),
        ..InferenceJobStatus::default()
    };
    finished(&fixture, "failed", failed).await?;

    let shown = fixture.kubectl(&["get", "ij"], "").await?;
    let rows: Vec<Vec<&str>> = shown.lines().map(cells).collect();
    assert_eq!(
        rows[0],
        [
            "NAME", "TASK", "MODEL", "PHASE", "ATTEMPTS", "RESULT", "AGE"
        ]
    );
    assert_eq!(
        rows[1][..6],
        [
            "captioned",
            "image-to-text",
            "blip",
            "Succeeded",
            "1",
            "a red circle"
        ]
    );
    assert_eq!(rows[2][5], "tabby 0.91");
    assert_eq!(
        rows[3][2..],
        [
            "Failed",
            "0",
            "InvalidPicture",
            rows[3].last().copied().unwrap_or_default()
        ]
    );
    Ok(())
}

#[tokio::test]
async fn get_shows_how_far_a_batch_has_come() -> Result<()> {
    let fixture = Fixture::new().await?;
    for (name, failed) in [("all-well", 0), ("some-failed", 3)] {
        fixture.create::<InferenceJob>(batch(name)).await?;
        let status = InferenceJobStatus {
            phase: Phase::Running,
            counts: Some(Counts {
                total: 20_000,
                succeeded: 1234 - failed,
                failed,
                skipped: 7,
                reused: 5,
            }),
            ..InferenceJobStatus::default()
        };
        write(&fixture, name, status).await?;
    }
    let shown = fixture.kubectl(&["get", "ij"], "").await?;
    let rows: Vec<Vec<&str>> = shown.lines().map(cells).collect();
    // The model's cell is empty.
    assert_eq!(rows[1][2..5], ["Running", "0", "1234/20000"], "{shown}");
    assert_eq!(rows[2][4], "1234/20000, 3 failed", "{shown}");
    Ok(())
}

#[tokio::test]
async fn get_shows_a_pools_runners_and_queue() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<RunnerPool>(pool("default")).await?;
    let api: Api<RunnerPool> = fixture.api();
    let mut shown = api.get("default").await?;
    shown.status = Some(RunnerPoolStatus {
        replicas: 3,
        ready_replicas: 2,
        queued: 7,
        running: 5,
        ..RunnerPoolStatus::default()
    });
    api.replace_status("default", &PostParams::default(), &shown)
        .await?;
    let shown = fixture.kubectl(&["get", "rp"], "").await?;
    let rows: Vec<Vec<&str>> = shown.lines().map(cells).collect();
    assert_eq!(
        rows[0],
        ["NAME", "READY", "REPLICAS", "QUEUED", "RUNNING", "AGE"]
    );
    assert_eq!(rows[1][..5], ["default", "2", "3", "7", "5"]);
    Ok(())
}

#[tokio::test]
async fn get_fovea_shows_jobs_and_pools() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<InferenceJob>(job("one")).await?;
    fixture.create::<RunnerPool>(pool("two")).await?;
    let shown = fixture.kubectl(&["get", "fovea", "-o", "name"], "").await?;
    assert_eq!(
        shown,
        "inferencejob.fovea.dev/one\nrunnerpool.fovea.dev/two\n"
    );
    Ok(())
}

#[tokio::test]
async fn jobs_are_selected_by_pool_phase_and_picture() -> Result<()> {
    let fixture = Fixture::new().await?;
    for (name, pool) in [("in-a", "a"), ("in-b", "b")] {
        let mut job = job(name);
        set(&mut job, "spec.poolRef.name", json!(pool));
        fixture.create::<InferenceJob>(job).await?;
    }
    finished(
        &fixture,
        "done",
        succeeded("blip", JobResult::Caption("a".into())),
    )
    .await?;
    let mut uploaded = job("uploaded");
    let digest = "0".repeat(64);
    set(
        &mut uploaded,
        "spec.input",
        json!({"upload": {"sha256": digest}}),
    );
    fixture.create::<InferenceJob>(uploaded).await?;
    let picture = format!("spec.input.upload.sha256={digest}");
    for (selector, expected) in [
        ("spec.poolRef.name=a", ["in-a"]),
        ("status.phase=Succeeded", ["done"]),
        (&picture, ["uploaded"]),
    ] {
        let api: Api<InferenceJob> = fixture.api();
        let jobs = api.list(&ListParams::default().fields(selector)).await?;
        let names: Vec<_> = jobs
            .iter()
            .filter_map(|job| job.metadata.name.as_deref())
            .collect();
        assert_eq!(names, expected, "{selector}");
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_explain_describes_a_field() -> Result<()> {
    let fixture = Fixture::new().await?;
    for (field, says) in [
        (
            "ij.spec.input.object.key",
            "below `data/<the job's namespace>/`",
        ),
        ("rp.spec.autoscaling", "Scales the number of runners"),
    ] {
        // The API server publishes a definition's text some time after the resource.
        eventually("the text of the definition", PUBLISHED, || async {
            let shown = fixture.kubectl(&["explain", field], "").await?;
            ensure!(shown.contains(says), "{shown}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn succeeded(model: &str, result: JobResult) -> InferenceJobStatus {
    InferenceJobStatus {
        phase: Phase::Succeeded,
        attempts: 1,
        model: Some(ServedModel {
            name: model.into(),
            revision: "sha256:0".into(),
        }),
        result: Some(result),
        ..InferenceJobStatus::default()
    }
}

async fn finished(fixture: &Fixture, name: &str, status: InferenceJobStatus) -> Result<()> {
    fixture.create::<InferenceJob>(job(name)).await?;
    write(fixture, name, status).await
}

async fn write(fixture: &Fixture, name: &str, status: InferenceJobStatus) -> Result<()> {
    let api: Api<InferenceJob> = fixture.api();
    let mut job = api.get(name).await?;
    job.status = Some(status.clipped());
    api.replace_status(name, &PostParams::default(), &job)
        .await?;
    Ok(())
}

/// Columns are three spaces apart; a cell may have single ones inside.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect()
}
