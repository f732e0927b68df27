//! Limits on unfinished jobs: who waits, who says so, and who is next.

use anyhow::{Result, ensure};
use fovea_crds::{InferenceJob, InferenceJobStatus, Phase, annotations, conditions};
use fovea_harness::eventually;
use fovea_tests::operated::{JOBS, PATIENCE, TEAM};
use fovea_tests::{Operated, Options};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

/// Value, reason and message of the condition `Accepted`.
fn accepted(status: &InferenceJobStatus) -> Option<(&str, &str, &str)> {
    let accepted = conditions::get(&status.conditions, conditions::ACCEPTED)?;
    Some((&accepted.status, &accepted.reason, &accepted.message))
}

async fn is_accepted(operated: &Operated, name: &str) -> Result<InferenceJobStatus> {
    let is_accepted =
        |status: &InferenceJobStatus| accepted(status).is_some_and(|(value, ..)| value == "True");
    operated
        .status_where(name, "to be accepted", is_accepted)
        .await
}

async fn is_held(operated: &Operated, name: &str) -> Result<InferenceJobStatus> {
    let is_held = |status: &InferenceJobStatus| {
        accepted(status).is_some_and(|(_, reason, _)| reason == conditions::QUOTA_EXCEEDED)
    };
    operated.status_where(name, "to be held", is_held).await
}

/// The namespaces that the operator says are over their limit.
async fn full(operated: &Operated, number: u32) -> Result<()> {
    let line = format!("fovea_operator_full_namespaces{{limit=\"unfinished\"}} {number}\n");
    let url = format!("{}/metrics", operated.health_url);
    eventually(&line, PATIENCE, async || {
        let text = reqwest::get(&url).await?.text().await?;
        ensure!(text.contains(&line), "{text}");
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn jobs_beyond_a_namespace_s_limit_wait_and_are_accepted_in_order_of_creation() -> Result<()>
{
    let options = Options {
        slots: 1,
        ..Options::flags(["--max-unfinished-jobs-per-namespace=3"])
    };
    let mut operated = Operated::start(options).await?;
    let running = operated.submit("running", "wait 600000 caption x").await?;
    operated.begun(&running.uid().unwrap(), 1).await?;
    // It counts, and is never started.
    let mut suspended = Operated::job("suspended", "caption x");
    suspended.spec.suspend = true;
    operated.create(&suspended).await?;
    // A job is accepted in a later second than that of its creation, and the order is by seconds.
    operated.submit("pending", "caption x").await?;
    is_accepted(&operated, "pending").await?;
    let team: Api<InferenceJob> = Api::namespaced(operated.client.clone(), TEAM);
    for (name, number) in [("fourth", 4), ("fifth", 5)] {
        operated.submit(name, "caption x").await?;
        let held = is_held(&operated, name).await?;
        let (value, _, message) = accepted(&held).unwrap();
        assert_eq!((held.phase, value), (Phase::Pending, "False"));
        let expected = format!("{number} unfinished jobs, and may have 3,");
        assert!(message.contains(&expected), "{message}");
        let other = Operated::job(name, "caption x");
        team.create(&PostParams::default(), &other).await?;
        eventually(
            "the other namespace's job to be accepted",
            PATIENCE,
            async || {
                let status = team.get(name).await?.status.unwrap_or_default();
                let accepted = accepted(&status);
                ensure!(
                    accepted.is_some_and(|(value, ..)| value == "True"),
                    "{status:?}"
                );
                Ok(())
            },
        )
        .await?;
    }
    full(&operated, 1).await?;

    // Another leader finds the same order.
    operated.operator.restart().await?;
    operated.is_ready().await?;
    full(&operated, 1).await?;
    operated.patch("pending", json!({"cancel": true})).await?;
    is_accepted(&operated, "fourth").await?;
    is_held(&operated, "fifth").await?;

    let namespaces: Api<Namespace> = Api::all(operated.client.clone());
    let more = json!({"metadata": {"annotations": {annotations::MAX_UNFINISHED_JOBS: "9"}}});
    let params = PatchParams::default();
    namespaces.patch(JOBS, &params, &Patch::Merge(more)).await?;
    is_accepted(&operated, "fifth").await?;
    full(&operated, 0).await?;
    operated.patch("running", json!({"cancel": true})).await?;
    for name in ["fourth", "fifth"] {
        assert_eq!(operated.ended(name).await?.phase, Phase::Succeeded);
    }
    operated.judge();
    Ok(())
}

/// A crowd of kubectl's is accepted piece by piece, and all of it ends.
#[tokio::test]
async fn a_crowd_beyond_the_limit_ends_to_the_last_job() -> Result<()> {
    let flags = Options::flags(["--max-unfinished-jobs-per-namespace=5"]);
    let operated = Operated::start(flags).await?;
    let names: Vec<String> = (0..60).map(|number| format!("crowd-{number}")).collect();
    let crowd = names
        .iter()
        .map(|name| Operated::job(name, "wait 100 caption x"));
    fovea_tests::crowd::create(&operated.jobs, crowd).await?;
    for name in &names {
        assert_eq!(operated.ended(name).await?.phase, Phase::Succeeded);
    }
    full(&operated, 0).await?;
    operated.judge();
    Ok(())
}
