//! The operator may write a status up to its bounds; others may not write it.

use crate::fixture::{Fixture, job, pool, set};
use anyhow::{Context, Result, ensure};
use fovea_crds::{
    BatchOutput, BoundingBox, CallbackStatus, Counts, Detection, Failure, InferenceJob,
    InferenceJobStatus, JobResult, ModelStatus, Phase, Prediction, ResolvedPoolRef, RunnerPool,
    RunnerPoolStatus, ServedModel, Timings, bounds, conditions,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

/// Longer than any bound, and four bytes a character.
const LONG: usize = 100_000;

#[tokio::test]
async fn the_largest_status_that_clipping_lets_through_is_taken() -> Result<()> {
    let fixture = Fixture::new().await?;
    let api: Api<InferenceJob> = fixture.api();
    let texts = ["x", "🦀", "\"", "\u{1}", "\n"].map(|text| text.repeat(LONG));
    for (number, text) in texts.iter().enumerate() {
        for (kind, result) in results(text).into_iter().enumerate() {
            let name = format!("largest-{number}-{kind}");
            fixture.create::<InferenceJob>(job(&name)).await?;
            let mut job = api.get(&name).await?;
            let status = InferenceJobStatus {
                result: Some(result),
                ..largest(text)
            }
            .clipped();
            job.status = Some(status.clone());
            let stored = api
                .replace_status(&name, &PostParams::default(), &job)
                .await;
            let stored = stored.with_context(|| name.clone())?;
            assert_eq!(stored.status, Some(status), "{name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_largest_pool_status_that_clipping_lets_through_is_taken() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<RunnerPool>(pool("largest")).await?;
    let api: Api<RunnerPool> = fixture.api();
    for text in ["x", "🦀", "\u{1}"].map(|text| text.repeat(LONG)) {
        let model = |number| ModelStatus {
            name: format!("model-{number}"),
            revision: Some(text.clone()),
            source: Some(text.clone()),
            commit: None,
            ready: true,
        };
        let condition = |number| Condition {
            reason: text.clone(),
            message: text.clone(),
            ..condition(&format!("Type{number}"), "")
        };
        let status = RunnerPoolStatus {
            models: (0..100).map(model).collect(),
            conditions: (0..100).map(condition).collect(),
            ..RunnerPoolStatus::default()
        };
        let mut largest = api.get("largest").await?;
        largest.status = Some(status.clipped());
        api.replace_status("largest", &PostParams::default(), &largest)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_status_beyond_its_bounds_is_refused() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<InferenceJob>(job("beyond")).await?;
    let api: Api<InferenceJob> = fixture.api();
    let over = |bound: u32| "x".repeat(bound as usize + 1);
    let label = json!({"label": "a", "score": 0.5});
    let beyond = [
        ("phase", json!("Done")),
        ("attempts", json!(-1)),
        ("summary", json!(over(bounds::MAX_SUMMARY_LENGTH))),
        ("runner", json!(over(bounds::MAX_RUNNER_LENGTH))),
        (
            "result",
            json!({"caption": over(bounds::MAX_CAPTION_LENGTH)}),
        ),
        (
            "result",
            json!({"predictions": vec![label; bounds::MAX_PREDICTIONS as usize + 1]}),
        ),
        (
            "result",
            json!({"predictions": [{"label": "a", "score": 1.5}]}),
        ),
        ("result", json!({"caption": "a", "predictions": []})),
        ("result", json!({})),
        ("resultSha256", json!("ABC")),
        ("counts", json!({"total": -1})),
        ("progressPermille", json!(1001)),
        (
            "output",
            json!({"prefix": over(bounds::MAX_OUTPUT_LENGTH), "parts": 1}),
        ),
        (
            "output",
            json!({"prefix": "out", "parts": 1, "successSha256": "ABC"}),
        ),
        (
            "callback",
            json!({"delivered": false, "lastError": over(bounds::MAX_MESSAGE_LENGTH)}),
        ),
        (
            "failure",
            json!({"reason": "a b", "message": "", "retryable": false}),
        ),
        (
            "failure",
            json!({"reason": "A", "message": over(bounds::MAX_MESSAGE_LENGTH), "retryable": false}),
        ),
        (
            "conditions",
            json!([{"type": "Accepted", "status": "Maybe", "reason": "A", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]),
        ),
        (
            "conditions",
            json!([condition("Accepted", "a"), condition("Accepted", "b")]),
        ),
    ];
    for (field, value) in beyond {
        let patch = Patch::Merge(json!({"status": {field: value}}));
        let answer = api
            .patch_status("beyond", &PatchParams::default(), &patch)
            .await;
        match answer {
            Err(kube::Error::Api(status)) if status.code == 422 => {}
            other => anyhow::bail!("{field}: {other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_status_is_not_written_through_the_resource_itself() -> Result<()> {
    let fixture = Fixture::new().await?;
    for (mut object, status) in [
        (
            job("own"),
            json!({"phase": "Succeeded", "result": {"caption": "made up"}}),
        ),
        (pool("own"), json!({"replicas": 9})),
    ] {
        object["status"] = status.clone();
        let created = match object["kind"].as_str() {
            Some("InferenceJob") => fixture.create::<InferenceJob>(object.clone()).await?,
            _ => fixture.create::<RunnerPool>(object.clone()).await?,
        };
        assert_eq!(created.data["status"]["observedGeneration"], -1);
        assert_ne!(created.data["status"]["phase"], "Succeeded");
        assert_ne!(created.data["status"]["replicas"], 9);
    }
    let api: Api<InferenceJob> = fixture.api();
    let patch = Patch::Merge(json!({"status": {"phase": "Succeeded"}, "spec": {"priority": 5}}));
    let patched = api.patch("own", &PatchParams::default(), &patch).await?;
    let status = patched.status.context("no status")?;
    assert_eq!((patched.spec.priority, status.phase), (5, Phase::Pending));
    assert_eq!(status.observed_generation, Some(conditions::UNOBSERVED));
    Ok(())
}

#[tokio::test]
async fn a_spec_is_not_written_through_the_status() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<InferenceJob>(job("spec")).await?;
    let api: Api<InferenceJob> = fixture.api();
    let patch = Patch::Merge(json!({"status": {"phase": "Running"}, "spec": {"priority": 5}}));
    let patched = api
        .patch_status("spec", &PatchParams::default(), &patch)
        .await?;
    assert_eq!(patched.spec.priority, 0);
    assert_eq!(patched.status.context("no status")?.phase, Phase::Running);
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_finished_job_never_changes() -> Result<()> {
    let fixture = Fixture::new().await?;
    let api: Api<InferenceJob> = fixture.api();
    let failure = json!({"reason": "InvalidPicture", "message": "m", "retryable": false});
    for (name, end) in [
        (
            "succeeded",
            json!({"phase": "Succeeded", "result": {"caption": "a cat"}}),
        ),
        ("failed", json!({"phase": "Failed", "failure": failure})),
        ("cancelled", json!({"phase": "Cancelled"})),
    ] {
        fixture.create::<InferenceJob>(job(name)).await?;
        let write = async |status: serde_json::Value| {
            let patch = Patch::Merge(json!({"status": status}));
            api.patch_status(name, &PatchParams::default(), &patch)
                .await
        };
        write(end.clone()).await?;
        for other in [
            json!({"phase": "Running"}),
            json!({"result": {"caption": "a dog"}}),
            json!({"result": null, "failure": null, "phase": "Pending"}),
            json!({"failure": {"reason": "Other", "message": "m", "retryable": true}}),
            json!({"output": {"prefix": "elsewhere", "parts": 1}}),
        ] {
            let error = write(other.clone()).await.err();
            let error = error.with_context(|| format!("{name}: {other} was taken"))?;
            let says = "of a finished job is immutable";
            ensure!(error.to_string().contains(says), "{name}: {error}");
        }
        write(end).await.context("the same end again")?;
        write(json!({"conditions": [condition("Complete", "Done")]})).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_status_has_one_owner() -> Result<()> {
    let fixture = Fixture::new().await?;
    fixture.create::<InferenceJob>(job("owned")).await?;
    let api: Api<InferenceJob> = fixture.api();
    let apply = async |manager: &str, of_type: &str| {
        let mut applied = job("owned");
        // Apply names what a manager owns: the status alone.
        applied.as_object_mut().expect("an object").remove("spec");
        set(
            &mut applied,
            "status.conditions",
            json!([condition(of_type, "Yes")]),
        );
        let params = PatchParams::apply(manager);
        api.patch_status("owned", &params, &Patch::Apply(&applied))
            .await
    };
    apply("operator", conditions::ACCEPTED).await?;
    match apply("another", conditions::SCHEDULED).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => anyhow::bail!("{other:?}"),
    }
}

fn condition(of_type: &str, reason: &str) -> Condition {
    Condition {
        type_: of_type.into(),
        status: "True".into(),
        reason: reason.into(),
        message: String::new(),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: Some(1),
    }
}

/// Every field set, every text far too long.
fn largest(text: &str) -> InferenceJobStatus {
    let named = |of_type: &str| Condition {
        reason: text.into(),
        message: text.into(),
        ..condition(of_type, "")
    };
    let now = Some(Time(Timestamp::UNIX_EPOCH));
    InferenceJobStatus {
        phase: Phase::Failed,
        observed_generation: Some(i64::MAX),
        pool_ref: Some(ResolvedPoolRef {
            name: "p".repeat(253),
            namespace: "n".repeat(63),
        }),
        conditions: [
            conditions::ACCEPTED,
            conditions::SCHEDULED,
            conditions::COMPLETE,
        ]
        .map(named)
        .into(),
        attempts: u32::MAX,
        interruptions: u32::MAX,
        exclusive: true,
        next_attempt_time: now.clone(),
        start_time: now.clone(),
        completion_time: now,
        runner: Some(text.into()),
        model: Some(ServedModel {
            name: text.into(),
            revision: text.into(),
        }),
        reused: true,
        result: None,
        summary: Some(text.into()),
        result_bytes: Some(i64::MAX as u64),
        result_sha256: Some("f".repeat(64)),
        counts: Some(Counts {
            total: i64::MAX as u64,
            succeeded: i64::MAX as u64,
            failed: i64::MAX as u64,
            skipped: i64::MAX as u64,
            reused: i64::MAX as u64,
        }),
        progress_permille: Some(u32::MAX),
        rate_per_second: Some(f64::NAN),
        estimated_completion_time: Some(Time(Timestamp::UNIX_EPOCH)),
        output: Some(BatchOutput {
            prefix: text.into(),
            parts: u32::MAX,
            success_sha256: Some("f".repeat(64)),
        }),
        failure: Some(Failure {
            reason: text.into(),
            message: text.into(),
            retryable: true,
        }),
        timings: Some(Timings {
            queue_millis: i64::MAX as u64,
            fetch_millis: i64::MAX as u64,
            infer_millis: i64::MAX as u64,
            batch_size: u32::MAX,
        }),
        callback: Some(CallbackStatus {
            delivered: true,
            attempts: u32::MAX,
            next_attempt_time: Some(Time(Timestamp::UNIX_EPOCH)),
            last_error: Some(text.into()),
        }),
    }
}

fn results(text: &str) -> [JobResult; 3] {
    let prediction = Prediction {
        label: text.into(),
        score: f32::NAN,
    };
    let bounding_box = BoundingBox {
        xmin: f32::NEG_INFINITY,
        ymin: f32::NAN,
        xmax: f32::MAX,
        ymax: f32::INFINITY,
    };
    let detection = Detection {
        label: "a".into(),
        score: 7.0,
        bounding_box,
    };
    [
        JobResult::Caption(text.into()),
        JobResult::Predictions(vec![prediction; 1000]),
        JobResult::Detections(vec![detection; 1000]),
    ]
}
