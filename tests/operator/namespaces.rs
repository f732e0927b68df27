//! Namespaces that are gone leave nothing in the operator's memory, however many there were.

use anyhow::{Context as _, Result, ensure};
use axum::http::Method;
use fovea_crds::InferenceJob;
use fovea_harness::eventually;
use fovea_tests::operated::{OPERATOR, PATIENCE, create_namespace};
use fovea_tests::proxy::{Fate, Proxy, Rule};
use fovea_tests::{Operated, Options};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use std::collections::BTreeMap;

const MANY: usize = 300;
const IN_FLIGHT: usize = 16;

const TABLES: &str = "fovea_operator_namespaces{table=\"";

/// Rows of each table with a row for each namespace, by the table.
async fn tables(health: &str) -> Result<BTreeMap<String, usize>> {
    let text = reqwest::get(format!("{health}/metrics"))
        .await?
        .text()
        .await?;
    let lines = text.lines().filter_map(|line| line.strip_prefix(TABLES));
    let table = |line: &str| {
        let (table, rows) = line.split_once("\"} ").context("a line of metrics")?;
        Ok((table.to_owned(), rows.parse()?))
    };
    let tables: Result<BTreeMap<_, _>> = lines.map(table).collect();
    let tables = tables?;
    ensure!(!tables.is_empty(), "{text}");
    Ok(tables)
}

/// A namespace with two jobs: one that ends, and one that waits for ever.
async fn fill(client: &Client, name: &str) -> Result<()> {
    create_namespace(client, name).await?;
    let jobs: Api<InferenceJob> = Api::namespaced(client.clone(), name);
    let ends = Operated::job("ends", "caption x");
    let mut waits = Operated::job("waits", "caption x");
    waits.spec.suspend = true;
    for job in [ends, waits] {
        jobs.create(&PostParams::default(), &job).await?;
    }
    Ok(())
}

/// Deletes a namespace and its jobs at once; Kubernetes' controller would take minutes for all.
async fn delete(client: &Client, name: &str) -> Result<()> {
    let jobs: Api<InferenceJob> = Api::namespaced(client.clone(), name);
    for job in ["ends", "waits"] {
        jobs.delete(job, &DeleteParams::default()).await?;
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.delete(name, &DeleteParams::default()).await?;
    let mut namespace = namespaces.get(name).await?;
    namespace.spec.get_or_insert_default().finalizers = Some(Vec::new());
    let body = serde_json::to_vec(&namespace)?;
    let finalize = format!("/api/v1/namespaces/{name}/finalize");
    let finalize = axum::http::Request::put(finalize).header("content-type", "application/json");
    client.request_text(finalize.body(body)?).await?;
    Ok(())
}

/// As many as `namespaces` for each.
async fn each(names: &[String], act: impl AsyncFn(&str) -> Result<()>) -> Result<()> {
    let acting = futures::stream::iter(names).map(|name| act(name));
    acting.buffer_unordered(IN_FLIGHT).try_collect().await
}

#[tokio::test]
async fn namespaces_deleted_while_no_watch_works_leave_nothing_behind() -> Result<()> {
    let options = Options::default();
    let operated = Operated::start(options.clone()).await?;
    let proxy = Proxy::start(&operated.control_plane, Some(OPERATOR)).await?;
    operated.operator.terminate().await?;
    let (heir, health) = operated.standby_by(&options, &proxy.kubeconfig).await?;
    operated.submit("first", "caption x").await?;
    operated.ended("first").await?;
    let before = eventually("the first job to be counted", PATIENCE, async || {
        let tables = tables(&health).await?;
        ensure!(tables.get("finished-jobs") == Some(&1), "{tables:?}");
        Ok(tables)
    });
    let before = before.await?;

    let client = &operated.client;
    let names: Vec<String> = (0..MANY).map(|number| format!("ci-{number}")).collect();
    each(&names, async |name| fill(client, name).await).await?;
    eventually("all namespaces to be known", PATIENCE, async || {
        let tables = tables(&health).await?;
        for table in ["known", "unfinished-jobs", "finished-jobs"] {
            let more = tables.get(table).copied().unwrap_or_default();
            let less = before.get(table).copied().unwrap_or_default();
            ensure!(more >= less + MANY, "{tables:?}");
        }
        Ok(())
    })
    .await?;

    // Their deletion is not delivered, and what happened since is not kept.
    proxy.rule([Rule::every(Method::GET, "watch=true", Fate::Answer(410))]);
    proxy.break_watches();
    each(&names, async |name| delete(client, name).await).await?;
    proxy.rule([]);
    eventually("all tables to be as before", PATIENCE, async || {
        let tables = tables(&health).await?;
        ensure!(
            tables == before,
            "{tables:?}, {before:?}, {}",
            heir.log_tail()
        );
        Ok(())
    })
    .await?;
    Ok(())
}
