//! Parts that end or hang, each with its own stack. Afterwards no job is lost, and none has two ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod batch;
mod restore;

use anyhow::Result;
use fovea_crds::{InferenceJob, Phase};
use fovea_harness::{Stack, StackOptions, stack};
use fovea_tests::demo::first;
use fovea_tests::jobs::{ended, inline, status_where};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::api::PostParams;

/// Of a lease that is short enough for a test to wait it out.
const SHORT: [&str; 3] = [
    "duration-ms=3000",
    "renew-deadline-ms=2000",
    "retry-period-ms=500",
];

async fn start(lease: &[&str]) -> Result<(Stack, Api<InferenceJob>)> {
    let operator_flags = lease.iter().map(|flag| format!("--lease-{flag}")).collect();
    let options = StackOptions {
        operator_flags,
        ..Default::default()
    };
    let stack = Stack::start(options, |line| eprintln!("{line}")).await?;
    let client = stack.control_plane.client().await?;
    Ok((stack, Api::namespaced(client, stack::JOB_NAMESPACE)))
}

async fn create(api: &Api<InferenceJob>, name: &str) -> Result<()> {
    let job = inline(name, &first::<String>("captions.json").0);
    api.create(&PostParams::default(), &job).await?;
    Ok(())
}

#[tokio::test]
async fn jobs_outlive_an_operator_that_is_killed_and_a_runner_that_is_restarted() -> Result<()> {
    let (mut stack, api) = start(&SHORT).await?;
    create(&api, "before").await?;
    let before = ended(&api, "before").await?;
    assert_eq!(before.phase, Phase::Succeeded);

    stack.operator.kill().await?;
    for number in 0..5 {
        create(&api, &format!("while-down-{number}")).await?;
    }
    stack.runner.restart().await?;
    stack.operator.restart().await?;
    for number in 0..5 {
        let name = format!("while-down-{number}");
        let status = ended(&api, &name).await?;
        let end = (status.phase, status.attempts);
        assert_eq!(end, (Phase::Succeeded, 1), "{status:?}");
    }
    let after = api.get("before").await?.status.unwrap();
    assert_eq!(after, before, "a finished job does not change");
    stack.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_runner_that_falls_silent_is_an_interruption_and_the_job_runs_again() -> Result<()> {
    let (stack, api) = start(&[]).await?;
    stack.runner.pause()?;
    create(&api, "silent").await?;
    let what = "to be interrupted";
    let lost = status_where(&api, "silent", what, |status| status.interruptions > 0).await?;
    let state = (lost.phase, lost.attempts, lost.exclusive);
    assert_eq!(state, (Phase::Pending, 0, true), "{lost:?}");
    stack.runner.resume()?;
    let status = ended(&api, "silent").await?;
    let end = (status.phase, status.attempts);
    assert_eq!(end, (Phase::Succeeded, 1), "{status:?}");
    stack.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_standby_takes_over_from_a_leader_that_stops() -> Result<()> {
    let (mut stack, api) = start(&SHORT).await?;
    let client = stack.control_plane.client().await?;
    let leases: Api<Lease> = Api::namespaced(client, stack::SYSTEM_NAMESPACE);
    let lease = async || -> Result<LeaseSpec> {
        Ok(leases.get("fovea-operator").await?.spec.unwrap_or_default())
    };
    let before = lease().await?.lease_transitions.unwrap_or_default();
    let exit = stack.operator.terminate().await?;
    assert!(exit.success(), "{}", stack.operator.log_tail());
    let holder = lease().await?.holder_identity;
    assert_eq!(
        holder.as_deref(),
        Some(""),
        "a leader that stops hands over"
    );
    stack.operator.restart().await?;
    create(&api, "after").await?;
    let status = ended(&api, "after").await?;
    assert_eq!(status.phase, Phase::Succeeded);
    assert_eq!(lease().await?.lease_transitions, Some(before + 1));
    stack.stop().await?;
    Ok(())
}
