//! Each alert by its fault, and the dashboard's questions.

use super::breaking;
use super::watched::{Watched, options};
use anyhow::{Context as _, Result, ensure};
use fovea_harness::eventually;
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::demo::first;
use fovea_tests::installed::{PATIENCE, POOL};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{ListParams, PostParams};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) async fn each_fires_by_its_fault(it: &mut Watched) -> Result<()> {
    it.prometheus.reload(&options(&it.it).await?).await?;
    all_is_well(it).await?;
    of_the_store(it).await?;
    of_the_api(it).await?;
    of_runners(it).await?;
    of_models(it).await?;
    of_operators(it).await?;
    of_the_cluster(it).await?;
    of_callbacks(it).await?;
    of_finished_jobs(it).await?;
    breaking::create_what_is_newer(it).await?;
    it.fires("ObjectsSetAside").await?;

    let rules = it.prometheus.rules().await?;
    let unwell: Vec<_> = rules.iter().filter(|rule| rule.health != "ok").collect();
    ensure!(unwell.is_empty(), "{unwell:#?}");
    let mut all: BTreeSet<String> = rules.into_iter().map(|rule| rule.name).collect();
    // A container has its node's clock: tests/operator/clock.rs has the metric.
    assert!(all.remove("FoveaClockSkew"), "{all:?}");
    assert!(all.remove("FoveaStoreClockSkew"), "{all:?}");
    // MinIO cannot be brought to it: tests/operator/wrong_lists.rs has the metric.
    assert!(all.remove("FoveaStoreUnreliable"), "{all:?}");
    assert_eq!(it.fired, all, "each alert, and no other");
    Ok(())
}

/// Every target is scraped, and no alert fires.
async fn all_is_well(it: &Watched) -> Result<()> {
    let well = eventually(
        "every target to be up, and no alert",
        PATIENCE,
        async || {
            let targets = it.prometheus.targets().await?;
            let down: Vec<_> = targets.iter().filter(|each| each.health != "up").collect();
            // Two operators, two apis, a runner.
            ensure!(down.is_empty() && targets.len() >= 5, "{targets:#?}");
            let alerts = it.prometheus.alerts().await?;
            ensure!(alerts.is_empty(), "{alerts:#?}");
            Ok(())
        },
    );
    Ok(well.await?)
}

async fn of_the_store(it: &mut Watched) -> Result<()> {
    let token = it.it.token("default", "alerts", "edit").await?;
    let visitor = it.it.visitor()?.with_token(token);
    let (picture, _) = first::<String>("captions.json");
    it.it.minio.process().kill().await?;
    for _ in 0..10 {
        let (status, problem) = visitor.submit(&picture, &[]).await?;
        ensure!(status >= 500, "{status}: {problem}");
    }
    it.fires("ApiErrors").await?;
    it.fires("StoreErrors").await?;
    it.fires("ApiChecksFailing").await?;
    it.fires("SweepsFailing").await?;
    it.it.minio.process().restart().await?;
    it.rests("ApiChecksFailing").await?;
    it.rests("StoreErrors").await
}

async fn of_the_api(it: &mut Watched) -> Result<()> {
    it.it.scale("fovea-api", 0).await?;
    it.fires("ApiDown").await?;
    it.it.scale("fovea-api", 2).await?;
    it.rests("ApiDown").await
}

async fn of_runners(it: &mut Watched) -> Result<()> {
    let runner = breaking::runner(it).await?;
    // More than it can have done by then.
    it.submit("lost", 150).await?;
    breaking::signal(runner, Signal::SIGKILL)?;
    it.fires("RunnersLost").await?;
    it.fires("AttemptsFailing").await?;
    // The runner of the kill is forgotten once another has done a job.
    it.submit("before-stopped", 1).await?;
    it.ended("before-stopped-0").await?;
    let runner = breaking::runner(it).await?;
    it.submit("stopped", 10).await?;
    breaking::signal(runner, Signal::SIGSTOP)?;
    it.fires("RunnersDown").await?;
    it.fires("PoolRunnersMissing").await?;
    breaking::signal(runner, Signal::SIGCONT)?;
    it.rests("RunnersDown").await?;

    it.pool(json!({"replicas": 0})).await?;
    it.has_no_runners().await?;
    it.submit("waiting", 2).await?;
    it.fires("PoolWithoutRunners").await?;
    it.fires("QueueOld").await?;
    it.submit_batch("batch").await?;
    it.fires("BatchStalled").await?;
    it.pool(json!({"replicas": 1})).await?;
    it.it.pool_is_ready().await
}

async fn of_models(it: &mut Watched) -> Result<()> {
    breaking::put_broken_model(it).await?;
    let good = it.it.pools.get(POOL).await?;
    let mut models = serde_json::to_value(&good.spec.models)?;
    models.as_array_mut().context("models")?.push(json!({
        "name": "broken", "task": "image-to-text", "source": {"object": {"prefix": "demo/broken"}},
    }));
    it.pool(json!({ "models": models })).await?;
    it.fires("ModelNotReady").await?;
    it.pool(json!({"models": good.spec.models})).await?;
    it.rests("ModelNotReady").await
}

async fn of_operators(it: &mut Watched) -> Result<()> {
    it.it.scale("fovea-operator", 1).await?;
    it.fires("OperatorReplicasMissing").await?;
    it.it.scale("fovea-operator", 0).await?;
    it.fires("OperatorDown").await?;
    breaking::hold_lease(it).await?;
    it.it.scale("fovea-operator", 2).await?;
    it.fires("NoLeader").await?;
    breaking::release_lease(it).await?;
    it.rests("NoLeader").await
}

async fn of_the_cluster(it: &mut Watched) -> Result<()> {
    breaking::silence_api_server(it).await?;
    it.rests("ClusterErrors").await?;
    it.it.pool_is_ready().await?;

    let role = breaking::take_rights(it).await?;
    it.submit("untold", 3).await?;
    it.fires("StatusWritesFailing").await?;
    breaking::give_rights(it, role).await?;
    it.rests("StatusWritesFailing").await
}

async fn of_callbacks(it: &mut Watched) -> Result<()> {
    let secrets: Api<Secret> = Api::default_namespaced(it.it.client.clone());
    let secret = serde_json::from_value(json!({
        "metadata": {"name": "fovea-webhook"}, "type": "fovea.dev/webhook",
        "stringData": {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
    }))?;
    secrets.create(&PostParams::default(), &secret).await?;
    // Nobody listens there.
    let [port] = fovea_harness::ports::free()?;
    let url = format!("https://{}:{port}/ended", it.it.cluster.gateway());
    it.submit_for("called-back", url).await?;
    it.fires("CallbacksFailing").await?;
    it.fires("CallbacksGivenUp").await
}

/// The namespace has dozens of finished jobs that were applied, and at least one of the API.
async fn of_finished_jobs(it: &mut Watched) -> Result<()> {
    let token = it.it.token("default", "limits", "edit").await?;
    let visitor = it.it.visitor()?.with_token(token);
    let (picture, _) = first::<String>("captions.json");
    visitor.submitted_and_ended(&picture, &[]).await?;
    breaking::limit_finished_jobs(it).await?;
    it.fires("JobsDeletedEarly").await?;
    it.fires("NamespaceFull").await
}

/// Replaces Grafana's built-in variables, as Grafana does.
fn filled(question: &str) -> String {
    question
        .replace("$__rate_interval", "1h")
        .replace("$__range", "1h")
        .replace("$__interval", "1h")
        .replace("$namespace", SYSTEM_NAMESPACE)
        .replace("${namespace}", SYSTEM_NAMESPACE)
        .replace("$pool", ".*")
}

/// After all that has happened every series is there, but for what a runner refuses.
pub(super) async fn every_panel_of_the_dashboard_has_an_answer(it: &Watched) -> Result<()> {
    breaking::knock_without_a_token(it).await?;
    let questions = questions(it).await?;
    ensure!(questions.len() > 10, "{questions:#?}");
    let answered = eventually("every panel to have an answer", PATIENCE, async || {
        let mut empty = Vec::new();
        for (panel, question) in &questions {
            if it.prometheus.query(question).await?.is_empty() {
                empty.push(format!("{panel}: {question}"));
            }
        }
        ensure!(empty.is_empty(), "{empty:#?}");
        Ok(())
    });
    Ok(answered.await?)
}

/// The titles of the dashboard's panels, with their queries.
async fn questions(it: &Watched) -> Result<Vec<(String, String)>> {
    let maps: Api<ConfigMap> = Api::namespaced(it.it.client.clone(), SYSTEM_NAMESPACE);
    let labelled = ListParams::default().labels("grafana_dashboard=1");
    let map = maps.list(&labelled).await?.items.pop();
    let files = map.context("a dashboard")?.data.unwrap_or_default();
    let (_, text) = files.into_iter().next().context("its file")?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let inner = |panel: &Value| panel["panels"].as_array().cloned().unwrap_or_default();
    let panels = inner(&dashboard);
    let mut questions = Vec::new();
    for panel in panels.iter().flat_map(inner).chain(panels.clone()) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let question = target["expr"].as_str().context("a question")?;
            questions.push((panel["title"].to_string(), filled(question)));
        }
    }
    Ok(questions)
}
