//! Events: which namespace gets how many.

use anyhow::{Result, ensure};
use fovea_crds::{InferenceJob, conditions};
use fovea_harness::eventually;
use fovea_tests::operated::{JOBS, PATIENCE, TEAM};
use fovea_tests::{Operated, Options};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

/// A job whose pool does not exist.
fn refused(name: &str) -> InferenceJob {
    let mut job = Operated::job(name, "caption x");
    job.spec.pool_ref = serde_json::from_value(json!({"name": "nowhere"})).ok();
    job
}

async fn events(operated: &Operated, namespace: &str, job: &str) -> Result<Vec<Event>> {
    let events: Api<Event> = Api::namespaced(operated.client.clone(), namespace);
    let of = ListParams::default().fields("reportingController=fovea-operator");
    let mut events = events.list(&of).await?.items;
    let is_about = |event: &Event| {
        let about = event
            .regarding
            .as_ref()
            .and_then(|object| object.name.as_deref());
        about.is_some_and(|name| name.starts_with(job))
    };
    events.retain(is_about);
    Ok(events)
}

#[tokio::test]
async fn a_namespace_with_many_refused_jobs_costs_another_no_event() -> Result<()> {
    let operated = Operated::start(Options::default()).await?;
    let team: Api<InferenceJob> = Api::namespaced(operated.client.clone(), TEAM);
    let crowd = (0..120).map(|number| refused(&format!("crowd-{number}")));
    fovea_tests::crowd::create(&team, crowd).await?;
    eventually("all to be refused", PATIENCE, async || {
        for job in team.list(&ListParams::default()).await? {
            let status = job.status.unwrap_or_default();
            let accepted = conditions::get(&status.conditions, conditions::ACCEPTED);
            ensure!(accepted.is_some(), "a job waits");
        }
        Ok(())
    })
    .await?;
    operated.create(&refused("quiet")).await?;
    let found = eventually("the other's Event", PATIENCE, async || {
        let found = events(&operated, JOBS, "quiet").await?;
        ensure!(!found.is_empty(), "{}", operated.operator.log_tail());
        Ok(found)
    });
    assert_eq!(found.await?[0].reason.as_deref(), Some("PoolNotFound"));
    let noisy = events(&operated, TEAM, "crowd-").await?.len();
    assert!((1..60).contains(&noisy), "{noisy}");

    // Another list of pools is another message, and no other reason.
    let pool = json!({
        "apiVersion": "fovea.dev/v1alpha1", "kind": "RunnerPool", "metadata": {"name": "other"},
        "spec": {"models": [{"name": "m", "task": "image-to-text"}], "external": {"endpoints": [operated.runner.url]}},
    });
    let params = PatchParams::apply("test").force();
    operated
        .pools
        .patch("other", &params, &Patch::Apply(pool))
        .await?;
    let told = operated.status_where("quiet", "to name the new pool", |status| {
        let accepted = conditions::get(&status.conditions, conditions::ACCEPTED);
        accepted.is_some_and(|accepted| accepted.message.contains("other"))
    });
    told.await?;
    let mut elsewhere = refused("elsewhere");
    elsewhere.metadata.namespace = None;
    let created = operated
        .jobs
        .create(&PostParams::default(), &elsewhere)
        .await?;
    eventually("a later Event", PATIENCE, async || {
        ensure!(
            !events(&operated, JOBS, &created.name_any())
                .await?
                .is_empty()
        );
        Ok(())
    })
    .await?;
    let again = events(&operated, JOBS, "quiet").await?;
    assert_eq!(again.len(), 1, "{again:?}");
    assert!(again[0].series.is_none(), "{again:?}");
    operated.judge();
    Ok(())
}
