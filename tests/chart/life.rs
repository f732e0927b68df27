//! A release's life: from the version before, on to this one, back, and away; and a trial after it.

use crate::trial;
use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, Phase};
use fovea_harness::eventually;
use fovea_harness::stack::{self, SYSTEM_NAMESPACE};
use fovea_tests::demo::first;
use fovea_tests::installed::{PATIENCE, RELEASE, chart};
use fovea_tests::pods::is_skipped;
use fovea_tests::{Installed, crowd, jobs};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DynamicObject, ListParams};
use kube::discovery::{Discovery, verbs};
use kube::{Api, ResourceExt as _};
use std::collections::BTreeSet;

/// Unfinished jobs during the change of a release.
const IN_FLIGHT: usize = 60;

#[tokio::test]
async fn a_release_is_upgraded_rolled_back_and_uninstalled_with_jobs_in_flight() -> Result<()> {
    if is_skipped() {
        return Ok(());
    }
    let it = Installed::prepare().await?;
    let history = it.history();
    let before = everything(&it).await?;
    let mut values = it.values();
    values["networkPolicy"]["kubernetesApi"] = it.kubernetes_api();
    it.install_chart(&previous()?, &values).await?;
    let old = chart_label(&it).await?;

    submit(&it, "upgraded").await?;
    let values = it.helm.values("upgrade", &it.values())?;
    let chart = chart();
    let upgrade = ["upgrade", RELEASE, &chart, "-f", &values];
    let wait = ["-n", SYSTEM_NAMESPACE, "--wait", "--timeout=4m"];
    it.helm.run(&[&upgrade[..], &wait].concat()).await?;
    it.pool_is_ready_now().await?;
    assert_ne!(chart_label(&it).await?, old);
    all_succeed(&it).await?;

    submit(&it, "rolled-back").await?;
    let back = ["rollback", RELEASE, "1"];
    it.helm.run(&[&back[..], &wait].concat()).await?;
    assert_eq!(chart_label(&it).await?, old);
    all_succeed(&it).await?;
    let faults = history.faults(&[]);
    ensure!(faults.is_empty(), "{faults:#?}");

    let away = ["uninstall", RELEASE, "-n", SYSTEM_NAMESPACE, "--wait"];
    it.helm.run(&away).await?;
    let what = "nothing but what is kept to be left";
    let after = eventually(what, PATIENCE, async || {
        let after = everything(&it).await?;
        let left = after.difference(&before).filter(|name| !is_kept(name));
        let left: Vec<_> = left.collect();
        ensure!(left.is_empty(), "{left:#?}");
        Ok(after)
    })
    .await?;
    let missing: Vec<_> = before.difference(&after).collect();
    assert!(missing.is_empty(), "of what was there before: {missing:#?}");
    let jobs = it.jobs.list(&ListParams::default()).await?;
    assert_eq!(jobs.items.len(), 2 * IN_FLIGHT);

    trial::takes_the_place_of(&it).await
}

/// Definitions, jobs and events stay.
fn is_kept(name: &str) -> bool {
    let kind = name.split(' ').next().unwrap_or_default();
    [
        "CustomResourceDefinition",
        "InferenceJob",
        "Event",
        "APIService",
    ]
    .contains(&kind)
}

/// `Kind namespace/name` of every object.
async fn everything(it: &Installed) -> Result<BTreeSet<String>> {
    let discovery = Discovery::new(it.client.clone()).run().await?;
    let mut found = BTreeSet::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            // Others' heartbeats come and go.
            if !capabilities.supports_operation(verbs::LIST) {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(it.client.clone(), &resource);
            for object in api.list_metadata(&ListParams::default()).await? {
                let namespace = object.namespace().unwrap_or_default();
                let name = object.name_any();
                found.insert(format!("{} {namespace}/{name}", resource.kind));
            }
        }
    }
    Ok(found)
}

fn previous() -> Result<String> {
    let folder = stack::repository().join("tests/chart/previous");
    let packages = std::fs::read_dir(&folder)?.map(|entry| anyhow::Ok(entry?.path()));
    let mut packages = packages.collect::<Result<Vec<_>>>()?;
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "tgz"));
    let [package] = packages.as_slice() else {
        anyhow::bail!("one package in {}, not {packages:?}", folder.display());
    };
    Ok(package.display().to_string())
}

async fn chart_label(it: &Installed) -> Result<String> {
    let deployments: Api<Deployment> = Api::namespaced(it.client.clone(), SYSTEM_NAMESPACE);
    let deployment = deployments.get("fovea-operator").await?;
    let label = deployment.labels().get("helm.sh/chart").cloned();
    label.context("the label helm.sh/chart")
}

async fn submit(it: &Installed, prefix: &str) -> Result<()> {
    let (picture, _) = first::<String>("captions.json");
    let job = |number| jobs::inline(&format!("{prefix}-{number}"), &picture);
    crowd::create(&it.jobs, (0..IN_FLIGHT).map(job)).await
}

async fn all_succeed(it: &Installed) -> Result<()> {
    let done = eventually("every job to succeed", PATIENCE, async || {
        let jobs = it.jobs.list(&ListParams::default()).await?;
        let phase = |job: &InferenceJob| job.status.clone().unwrap_or_default().phase;
        let succeeded = |job: &&InferenceJob| phase(job) == Phase::Succeeded;
        let failed = jobs
            .iter()
            .find(|job| phase(job).is_terminal() && !succeeded(job));
        let ended = jobs.iter().filter(succeeded).count();
        let all = failed.is_none() && ended == jobs.items.len();
        ensure!(all, "{ended}; {failed:?}");
        Ok(())
    });
    Ok(done.await?)
}
