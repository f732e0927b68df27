//! Plain client-side `kubectl apply`, which keeps a copy of the object in an annotation of at most
//! 262,144 bytes.

use crate::fixture::{Fixture, job, repository, set};
use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use fovea_crds::{InferenceJob, RunnerPool, bounds};
use kube::CustomResourceExt;
use serde_json::{Value, json};
use std::process::Command;

#[tokio::test]
async fn both_definitions_are_applied_and_the_second_time_changes_nothing() -> Result<()> {
    let fixture = Fixture::new().await?;
    let folder = repository("manifests/crds");
    let folder = folder.to_str().context("a path that is no text")?;
    let second = fixture.kubectl(&["apply", "-f", folder], "").await?;
    let lines: Vec<&str> = second.lines().collect();
    assert_eq!(lines.len(), 2, "{second}");
    for line in lines {
        assert!(line.ends_with("fovea.dev unchanged"), "{second}");
    }
    Ok(())
}

#[tokio::test]
async fn the_api_server_has_no_warning_about_a_definition() -> Result<()> {
    let fixture = Fixture::new().await?;
    let folder = repository("manifests/crds");
    let folder = folder.to_str().context("a path that is no text")?;
    let args = ["replace", "--dry-run=server", "-f", folder];
    let answer = fixture.plane.kubectl(&args).await?;
    assert!(answer.status.success(), "{}", answer.stderr);
    assert_eq!(answer.stderr, "");
    Ok(())
}

#[test]
fn a_definition_is_smaller_than_200_kib() {
    for definition in [InferenceJob::crd(), RunnerPool::crd()] {
        let bytes = serde_json::to_vec(&definition).unwrap().len();
        assert!(
            bytes < 200 * 1024,
            "{:?}: {bytes}",
            definition.metadata.name
        );
    }
}

#[test]
fn the_committed_definitions_are_those_of_the_types() -> Result<()> {
    let crdgen = Command::new(env!("CARGO_BIN_EXE_crdgen"))
        .arg("--check")
        .output()?;
    ensure!(
        crdgen.status.success(),
        "{}",
        String::from_utf8_lossy(&crdgen.stderr)
    );
    Ok(())
}

#[test]
fn a_definition_has_no_part_that_the_server_does_not_check() {
    for definition in [InferenceJob::crd(), RunnerPool::crd()] {
        let text = serde_json::to_string(&definition).unwrap();
        assert!(!text.contains("preserve-unknown-fields"), "{text}");
    }
}

#[tokio::test]
async fn the_largest_legal_inline_job_is_applied_twice() -> Result<()> {
    let fixture = Fixture::new().await?;
    let largest = largest_job().to_string();
    let first = fixture.kubectl(&["apply", "-f", "-"], &largest).await?;
    assert_eq!(first, "inferencejob.fovea.dev/largest created\n");
    let second = fixture.kubectl(&["apply", "-f", "-"], &largest).await?;
    assert_eq!(second, "inferencejob.fovea.dev/largest unchanged\n");
    Ok(())
}

fn largest_job() -> Value {
    let mut largest = job("largest");
    let picture = STANDARD.encode(vec![0xff; bounds::MAX_INLINE_BYTES as usize]);
    set(
        &mut largest,
        "spec.input",
        json!({"inline": {"data": picture}}),
    );
    // Characters that JSON writes as two: the most that the copy can grow to.
    let prompt = "\"".repeat(bounds::MAX_PROMPT_LENGTH as usize);
    set(
        &mut largest,
        "spec.parameters",
        json!({"prompt": prompt, "maxNewTokens": 512}),
    );
    set(&mut largest, "spec.model", json!("m".repeat(63)));
    let pool = json!({"name": "p".repeat(253), "namespace": "n".repeat(63)});
    set(&mut largest, "spec.poolRef", pool);
    set(
        &mut largest,
        "spec.managedBy",
        json!(format!("a.b/{}", "c".repeat(59))),
    );
    let url = format!(
        "https://a/?{}",
        "&".repeat(bounds::MAX_URL_LENGTH as usize - 11)
    );
    set(&mut largest, "spec.callback", json!({"url": url}));
    set(&mut largest, "spec.priority", json!(-1000));
    set(
        &mut largest,
        "spec.activeDeadlineSeconds",
        json!(bounds::MAX_SPAN_SECONDS),
    );
    set(
        &mut largest,
        "spec.ttlSecondsAfterFinished",
        json!(bounds::MAX_SPAN_SECONDS),
    );
    largest
}
