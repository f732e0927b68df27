//! An object store that is down, or refuses, while jobs run.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, InferenceJobStatus, Phase, Task, conditions};
use fovea_harness::eventually;
use fovea_tests::operated::{BUCKET, PATIENCE};
use fovea_tests::{Operated, Options};
use kube::api::DeleteParams;
use serde_json::json;

/// The store is given up soon, and refusals after three seconds.
const FLAGS: [&str; 3] = [
    "--s3-max-attempts=1",
    "--s3-attempt-timeout-ms=500",
    "--result-refused-seconds=3",
];

/// A job whose result is too large for a status.
fn large(name: &str) -> InferenceJob {
    let mut job = Operated::job(name, "labels 3000");
    job.spec.task = Task::ImageClassification;
    job
}

async fn submit(operated: &Operated, job: &InferenceJob) -> Result<String> {
    let made = operated.create(job).await?;
    made.metadata.uid.context("no uid")
}

/// Waits until the job's condition Scheduled has this reason.
async fn scheduled(operated: &Operated, name: &str, reason: &str) -> Result<InferenceJobStatus> {
    let has_it = |status: &InferenceJobStatus| {
        let found = conditions::get(&status.conditions, conditions::SCHEDULED);
        found.is_some_and(|found| found.reason == reason)
    };
    operated.status_where(name, reason, has_it).await
}

fn message(status: &InferenceJobStatus) -> &str {
    let scheduled = conditions::get(&status.conditions, conditions::SCHEDULED);
    scheduled.map_or("", |scheduled| &scheduled.message)
}

/// The value of a metric, with its labels.
async fn metric(operated: &Operated, name: &str) -> Result<u64> {
    let url = format!("{}/metrics", operated.health_url);
    let text = reqwest::get(url).await?.text().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.context("no such metric")?.trim().parse()?)
}

const SUCCEEDED: &str = r#"fovea_operator_attempts_total{outcome="succeeded",reason="none"}"#;

fn puts(outcome: &str) -> String {
    format!("fovea_operator_result_puts_total{{outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn an_outage_of_the_store_runs_no_job_twice_and_costs_no_attempt() -> Result<()> {
    let mut operated = Operated::start(Options::flags(FLAGS)).await?;
    operated.minio.process().pause()?;
    let uid = submit(&operated, &large("kept")).await?;
    submit(&operated, &large("cancelled")).await?;
    submit(&operated, &large("deleted")).await?;
    let mut late = large("late");
    late.spec.active_deadline_seconds = Some(4);
    submit(&operated, &late).await?;
    operated.submit("unread", "problem FetchFailed").await?;

    for name in ["kept", "cancelled", "deleted"] {
        let status = scheduled(&operated, name, "ResultNotStored").await?;
        let end = (status.phase, status.attempts, status.result.is_some());
        assert_eq!(end, (Phase::Running, 0, false), "{status:?}");
        let message = message(&status);
        ensure!(message.contains("object store did not answer"), "{message}");
    }
    let unread = scheduled(&operated, "unread", "StoreUnavailable").await?;
    assert_eq!((unread.phase, unread.attempts), (Phase::Pending, 0));
    ensure!(unread.next_attempt_time.is_some(), "{unread:?}");

    operated.patch("cancelled", json!({"cancel": true})).await?;
    assert_eq!(operated.ended("cancelled").await?.phase, Phase::Cancelled);
    let parameters = DeleteParams::default();
    operated.jobs.delete("deleted", &parameters).await?;
    let late = operated.ended("late").await?;
    let failure = late.failure.context("no failure")?;
    assert_eq!(failure.reason, "ActiveDeadlineExceeded");
    ensure!(metric(&operated, &puts("failed")).await? >= 4, "no puts");
    assert_eq!(metric(&operated, SUCCEEDED).await?, 0);

    operated.minio.process().resume()?;
    let status = operated.ended("kept").await?;
    let end = (status.phase, status.attempts);
    assert_eq!(end, (Phase::Succeeded, 1), "{status:?}");
    assert!(status.result_bytes.is_some());
    assert_eq!(operated.runner.attempts_of(&uid).len(), 1);
    assert_eq!(metric(&operated, &puts("stored")).await?, 1);
    assert_eq!(metric(&operated, SUCCEEDED).await?, 1);
    let nothing_is_kept = eventually("no kept result", PATIENCE, async || {
        let kept = metric(&operated, "fovea_operator_kept_results").await?;
        ensure!(kept == 0, "{kept}");
        Ok(())
    });
    nothing_is_kept.await?;
    operated.judge();
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_refuses_a_result_for_good_ends_the_job_with_the_reason() -> Result<()> {
    let operated = Operated::start(Options::flags(FLAGS)).await?;
    operated.minio.delete_bucket(BUCKET)?;
    let uid = submit(&operated, &large("refused")).await?;
    let status = scheduled(&operated, "refused", "ResultNotStored").await?;
    ensure!(message(&status).contains("does not exist"), "{status:?}");
    let status = operated.ended("refused").await?;
    assert_eq!((status.phase, status.attempts), (Phase::Failed, 1));
    let failure = status.failure.context("no failure")?;
    assert_eq!(failure.reason, "ResultNotStored");
    ensure!(failure.message.contains("does not exist"), "{failure:?}");
    assert_eq!(operated.runner.attempts_of(&uid).len(), 1);
    ensure!(metric(&operated, &puts("refused")).await? > 1, "one try");
    assert_eq!(metric(&operated, SUCCEEDED).await?, 0);

    operated.minio.create_bucket(BUCKET)?;
    submit(&operated, &large("next")).await?;
    assert_eq!(operated.ended("next").await?.phase, Phase::Succeeded);
    operated.judge();
    Ok(())
}
