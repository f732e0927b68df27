//! Object stores that answer, and cannot be relied on: told by all that people look at, and nothing is deleted.

use crate::sweeping::{Bucket, NOBODY};
use anyhow::{Context as _, Result, ensure};
use axum::http::Method;
use axum::http::request::Parts;
use fovea_crds::{Phase, Task, conditions};
use fovea_harness::{Minio, eventually};
use fovea_store::{ObjectKey, Store, StoreConfig};
use fovea_tests::batches::{batch, prefix, put_all};
use fovea_tests::operated::{BUCKET, JOBS, PATIENCE};
use fovea_tests::s3_answers::{Stranger, Way};
use fovea_tests::s3_proxy::{Rule, S3Proxy, Verdict};
use fovea_tests::{Operated, Options};
use std::sync::Arc;

const FLAGS: [&str; 3] = [
    "--sweep-every-seconds=1",
    "--sweep-grace-seconds=1800",
    "--s3-max-attempts=1",
];

/// An operator whose store is behind a proxy with these rules. At its start it has none.
async fn start(rules: impl IntoIterator<Item = Rule>) -> Result<(Operated, S3Proxy)> {
    let proxy = S3Proxy::start(None).await?;
    let mut options = Options::flags(FLAGS);
    let endpoint = ("FOVEA_S3_ENDPOINT".to_owned(), proxy.url.clone());
    options.env.push(endpoint);
    let operated = Operated::start(options).await?;
    for rule in rules {
        proxy.rule(rule);
    }
    proxy.target(operated.minio.endpoint());
    Ok((operated, proxy))
}

fn rule(verdict: Verdict, matches: fn(&Parts) -> bool) -> Rule {
    Arc::new(move |request| {
        let verdict = if matches(request) {
            verdict.clone()
        } else {
            Verdict::Pass
        };
        Box::pin(async move { verdict })
    })
}

async fn direct(minio: &Minio) -> Result<Store> {
    let config = StoreConfig::at(minio.endpoint().parse()?, BUCKET);
    Ok(Store::connect_as(&config, minio.access_key(), minio.secret_key()).await?)
}

/// Waits until `/readyz?verbose` answers with this status and has this line.
async fn readyz(operated: &Operated, status: u16, line: &str) -> Result<()> {
    let url = format!("{}/readyz?verbose", operated.health_url);
    let told = eventually(line, PATIENCE, async || {
        let answer = reqwest::get(&url).await?;
        let found = answer.status().as_u16();
        let text = answer.text().await?;
        ensure!(found == status && text.contains(line), "{found}: {text}");
        Ok(())
    });
    Ok(told.await?)
}

/// Waits until a metric has a value of at least this.
async fn metric(operated: &Operated, name: &str, least: u64) -> Result<()> {
    let url = format!("{}/metrics", operated.health_url);
    let there = eventually(name, PATIENCE, async || {
        let text = reqwest::get(&url).await?.text().await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let value: u64 = value.context("no such metric")?.trim().parse()?;
        ensure!(value >= least, "{value}");
        Ok(())
    });
    Ok(there.await?)
}

/// Waits until the pool is degraded for this reason, with this in the message.
async fn degraded(operated: &Operated, reason: &str, part: &str) -> Result<()> {
    let told = eventually(reason, PATIENCE, async || {
        let pool = operated.pools.get("default").await?;
        let status = pool.status.unwrap_or_default();
        let found = conditions::get(&status.conditions, conditions::DEGRADED);
        let found = found.context("no condition")?;
        ensure!(found.status == "True", "{found:?}");
        ensure!(found.reason == reason, "{found:?}");
        ensure!(found.message.contains(part), "{found:?}");
        Ok(())
    });
    Ok(told.await?)
}

/// The store encodes `/`, too: once its lists are whole, the orphan is known for one.
#[tokio::test]
async fn a_store_with_wrong_lists_serves_jobs_and_nothing_is_swept_and_batches_wait() -> Result<()>
{
    let encodes = rule(Verdict::Change(Way::Encode), |_| true);
    let loses = rule(Verdict::Change(Way::Lose), |_| true);
    let (operated, proxy) = start([encodes, Arc::clone(&loses)]).await?;
    let bucket = Bucket::of(&operated.minio).await?;
    let orphan = ObjectKey::result(JOBS, NOBODY)?;
    bucket.put_old(&orphan).await?;
    let store = direct(&operated.minio).await?;
    let pictures = (0..3).map(|at| (format!("{at}.jpg"), b"picture".to_vec()));
    put_all(
        &store,
        JOBS,
        pictures.map(|(name, bytes)| (format!("in/{name}"), bytes)),
    )
    .await?;

    let wrong =
        "[+]object-store ok: warning: the object store's lists cannot be relied on: they leave out";
    readyz(&operated, 200, wrong).await?;
    metric(&operated, r#"fovea_operator_store_fault{fault="lists"}"#, 1).await?;
    degraded(&operated, "StoreListsUnreliable", "Nothing is swept").await?;
    operated.submit("single", "caption x").await?;
    assert_eq!(operated.ended("single").await?.phase, Phase::Succeeded);
    operated
        .create(&batch("waits", Task::ImageToText, prefix("in"), "out"))
        .await?;
    let waits = operated.status_where("waits", "to wait", |status| {
        let scheduled = conditions::get(&status.conditions, conditions::SCHEDULED);
        scheduled.is_some_and(|found| {
            found.status == "False" && found.message.contains("lists cannot be relied on")
        })
    });
    waits.await?;
    let failed = r#"fovea_operator_sweeps_total{outcome="failed"}"#;
    metric(&operated, failed, 2).await?;
    assert!(bucket.has(&orphan).await?);
    let log = tokio::fs::read_to_string(operated.operator.log_path()).await?;
    assert!(log.contains("has not passed its probe"), "{log}");

    proxy.lift(&loses);
    readyz(&operated, 200, "[+]object-store ok: keeps and lists").await?;
    bucket.loses(&orphan).await?;
    assert_eq!(operated.ended("waits").await?.phase, Phase::Succeeded);
    Ok(())
}

#[tokio::test]
async fn a_store_that_takes_objects_and_loses_them_makes_the_leader_unready() -> Result<()> {
    // The runner's pictures are not put through the operator.
    let swallows = rule(Verdict::Answer(Stranger::Swallows), |request| {
        request.method == Method::PUT && request.uri.path().contains("/system/probes/")
    });
    let (operated, proxy) = start([Arc::clone(&swallows)]).await?;
    let lost = "[-]object-store failed: the object store does not keep what is written to it";
    readyz(&operated, 503, lost).await?;
    metric(
        &operated,
        r#"fovea_operator_store_fault{fault="writes"}"#,
        1,
    )
    .await?;
    degraded(&operated, "StoreLosesWrites", "no such object").await?;
    proxy.lift(&swallows);
    readyz(&operated, 200, "[+]object-store ok: keeps and lists").await
}

#[tokio::test]
async fn a_login_page_in_place_of_the_store_is_named_and_jobs_are_not_lost() -> Result<()> {
    let page = rule(Verdict::Answer(Stranger::Page), |_| true);
    let (operated, proxy) = start([Arc::clone(&page)]).await?;
    let named = "is no S3 (200, text/html, beginning \"<!DOCTYPE html>";
    readyz(&operated, 503, named).await?;
    degraded(&operated, "NotAnObjectStore", "Sign in").await?;
    operated
        .create(&batch("waits", Task::ImageToText, prefix("in"), "out"))
        .await?;
    let waits = operated.status_where("waits", "to wait", |status| {
        let scheduled = conditions::get(&status.conditions, conditions::SCHEDULED);
        scheduled.is_some_and(|found| found.message.contains("is no S3"))
    });
    ensure!(!waits.await?.phase.is_terminal(), "it has ended");
    let store = direct(&operated.minio).await?;
    put_all(
        &store,
        JOBS,
        [("in/a.jpg".to_owned(), b"picture".to_vec())].into_iter(),
    )
    .await?;
    proxy.lift(&page);
    assert_eq!(operated.ended("waits").await?.phase, Phase::Succeeded);
    Ok(())
}
