//! Parts that end or hang, each with its own stack. Afterwards no job is lost, and none has two ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

mod restore;

use anyhow::{Result, anyhow};
use fovea_crds::{InferenceJob, InferenceJobSpec, InferenceJobStatus, Input, Phase, Task};
use fovea_harness::{Stack, StackOptions, eventually, stack};
use k8s_openapi::ByteString;
use kube::Api;
use kube::api::PostParams;
use std::time::Duration;

/// A lease short enough for a test to wait it out.
fn short_lease() -> Vec<String> {
    [
        "--lease-duration-ms=3000",
        "--lease-renew-deadline-ms=2000",
        "--lease-retry-period-ms=500",
    ]
    .map(str::to_owned)
    .to_vec()
}

async fn start(options: StackOptions) -> Result<(Stack, Api<InferenceJob>)> {
    let stack = Stack::start(options, |line| eprintln!("{line}")).await?;
    let client = stack.control_plane.client().await?;
    Ok((stack, Api::namespaced(client, stack::JOB_NAMESPACE)))
}

fn picture() -> Vec<u8> {
    let folder = stack::repository().join("models/demo/pictures");
    let mut pictures = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let jpeg = pictures
        .find(|path| path.extension().is_some_and(|end| end == "jpg"))
        .unwrap();
    std::fs::read(jpeg).unwrap()
}

async fn create(api: &Api<InferenceJob>, name: &str) -> Result<()> {
    let input = Input::Inline {
        data: ByteString(picture()),
    };
    let job = InferenceJob::new(name, InferenceJobSpec::new(Task::ImageToText, input));
    api.create(&PostParams::default(), &job).await?;
    Ok(())
}

async fn status_where(
    api: &Api<InferenceJob>,
    name: &str,
    wanted: impl Fn(&InferenceJobStatus) -> bool,
) -> Result<InferenceJobStatus> {
    let what = format!("the wanted status of {name}");
    let found = eventually(&what, Duration::from_mins(2), || async {
        let status = api.get(name).await?.status.unwrap_or_default();
        if wanted(&status) {
            Ok(status)
        } else {
            Err(anyhow!("{status:?}"))
        }
    });
    Ok(found.await?)
}

#[tokio::test]
async fn jobs_outlive_an_operator_that_is_killed_and_a_runner_that_is_restarted() -> Result<()> {
    let (mut stack, api) = start(StackOptions {
        operator_flags: short_lease(),
        ..Default::default()
    })
    .await?;
    create(&api, "before").await?;
    let before = status_where(&api, "before", |status| status.phase.is_terminal()).await?;
    assert_eq!(before.phase, Phase::Succeeded);

    stack.operator.kill().await?;
    for number in 0..5 {
        create(&api, &format!("while-down-{number}")).await?;
    }
    stack.runner.restart().await?;
    stack.operator.restart().await?;
    for number in 0..5 {
        let name = format!("while-down-{number}");
        let status = status_where(&api, &name, |status| status.phase.is_terminal()).await?;
        assert_eq!(
            (status.phase, status.attempts),
            (Phase::Succeeded, 1),
            "{status:?}"
        );
    }
    let after = api.get("before").await?.status.unwrap();
    assert_eq!(after, before, "a finished job does not change");
    stack.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_runner_that_falls_silent_is_an_interruption_and_the_job_runs_again() -> Result<()> {
    let (stack, api) = start(StackOptions::default()).await?;
    stack.runner.pause()?;
    create(&api, "silent").await?;
    let lost = status_where(&api, "silent", |status| status.interruptions > 0).await?;
    assert_eq!(
        (lost.phase, lost.attempts, lost.exclusive),
        (Phase::Pending, 0, true),
        "{lost:?}"
    );
    stack.runner.resume()?;
    let status = status_where(&api, "silent", |status| status.phase.is_terminal()).await?;
    assert_eq!(
        (status.phase, status.attempts),
        (Phase::Succeeded, 1),
        "{status:?}"
    );
    stack.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_standby_takes_over_from_a_leader_that_stops() -> Result<()> {
    let (mut stack, api) = start(StackOptions {
        operator_flags: short_lease(),
        ..Default::default()
    })
    .await?;
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(stack.control_plane.client().await?, stack::SYSTEM_NAMESPACE);
    let transitions = || async {
        anyhow::Ok(
            leases
                .get("fovea-operator")
                .await?
                .spec
                .unwrap_or_default()
                .lease_transitions
                .unwrap_or_default(),
        )
    };
    let before = transitions().await?;
    assert!(
        stack.operator.terminate().await?.success(),
        "{}",
        stack.operator.log_tail()
    );
    let holder = leases
        .get("fovea-operator")
        .await?
        .spec
        .unwrap_or_default()
        .holder_identity;
    assert_eq!(
        holder.as_deref(),
        Some(""),
        "a leader that is told to stop hands over"
    );
    stack.operator.restart().await?;
    create(&api, "after").await?;
    let status = status_where(&api, "after", |status| status.phase.is_terminal()).await?;
    assert_eq!(status.phase, Phase::Succeeded);
    assert_eq!(transitions().await?, before + 1);
    stack.stop().await?;
    Ok(())
}
