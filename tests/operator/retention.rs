//! Limits on finished jobs: whom they cost a job, what is left of it, and who waits.

use anyhow::{Result, ensure};
use fovea_crds::{InferenceJob, Phase, conditions};
use fovea_harness::eventually;
use fovea_store::{Store, StoreConfig};
use fovea_tests::operated::{BUCKET, JOBS, PATIENCE, TEAM};
use fovea_tests::s3_proxy::{S3Proxy, Verdict};
use fovea_tests::{Operated, Options};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::sync::Arc;
use std::time::SystemTime;

const LIMITED: [&str; 2] = [
    "--max-finished-jobs-per-namespace=3",
    "--min-finished-seconds=0",
];

/// The name of the `number`-th job of the API, whose names are UUIDs.
fn name(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Runs a job that the API has created.
async fn run_for_api(operated: &Operated, number: u32) -> Result<InferenceJob> {
    // Completion times are in whole seconds.
    let mut job = Operated::job(&name(number), "wait 1100 caption x");
    job.metadata.labels = serde_json::from_value(json!({"fovea.dev/created-by": "api"}))?;
    job.spec.ttl_seconds_after_finished = Some(3600);
    operated.create(&job).await?;
    operated.ended(&name(number)).await?;
    Ok(operated.jobs.get(&name(number)).await?)
}

async fn gone(operated: &Operated, name: &str) -> Result<()> {
    let gone = eventually("the job to be deleted", PATIENCE, async || {
        ensure!(operated.jobs.get_opt(name).await?.is_none(), "{name} stays");
        Ok(())
    });
    Ok(gone.await?)
}

async fn metric(operated: &Operated, line: &str) -> Result<()> {
    let url = format!("{}/metrics", operated.health_url);
    let found = eventually(line, PATIENCE, async || {
        let text = reqwest::get(&url).await?.text().await?;
        ensure!(text.contains(line), "{text}");
        Ok(())
    });
    Ok(found.await?)
}

/// The record of a job, as the API reads it.
async fn record(operated: &Operated, name: &str) -> Result<Option<InferenceJob>> {
    let minio = &operated.minio;
    let config = StoreConfig::at(minio.endpoint().parse()?, BUCKET);
    let store = Store::connect_as(&config, minio.access_key(), minio.secret_key()).await?;
    let namespaces: Api<Namespace> = Api::all(operated.client.clone());
    let uid = namespaces.get(JOBS).await?.uid().unwrap();
    let record = store.record(JOBS, &uid, name, SystemTime::now()).await?;
    Ok(record
        .map(|json| serde_json::from_slice(&json))
        .transpose()?)
}

/// Applied jobs have no TTL, and a tool that applied one would apply it again after its deletion.
#[tokio::test]
async fn applied_jobs_stay_and_a_full_namespace_holds_only_its_own_jobs() -> Result<()> {
    let operated = Operated::start(Options::flags(LIMITED)).await?;
    for name in ["one", "two", "three"] {
        operated.submit(name, "caption x").await?;
        operated.ended(name).await?;
    }
    operated.submit("held", "caption x").await?;
    let held = operated.status_where("held", "to be held", |status| {
        let accepted = conditions::get(&status.conditions, conditions::ACCEPTED);
        accepted.is_some_and(|accepted| {
            accepted.status == "False" && accepted.reason == conditions::TOO_MANY_FINISHED_JOBS
        })
    });
    assert_eq!(held.await?.phase, Phase::Pending);
    let full = "fovea_operator_full_namespaces{limit=\"finished\"} 1\n";
    metric(&operated, full).await?;
    // Each of many says so, in seconds.
    let crowd = (0..60).map(|number| Operated::job(&format!("crowd-{number}"), "caption x"));
    fovea_tests::crowd::create(&operated.jobs, crowd).await?;
    for number in 0..60 {
        let name = format!("crowd-{number}");
        let held = operated.status_where(&name, "to be held", |status| {
            let accepted = conditions::get(&status.conditions, conditions::ACCEPTED);
            accepted.is_some_and(|it| it.reason == conditions::TOO_MANY_FINISHED_JOBS)
        });
        held.await?;
        let params = DeleteParams::default();
        operated.jobs.delete(&name, &params).await?;
    }

    let team: Api<InferenceJob> = Api::namespaced(operated.client.clone(), TEAM);
    let other = Operated::job("other", "caption x");
    team.create(&PostParams::default(), &other).await?;
    let ended = eventually("the other namespace's job to end", PATIENCE, async || {
        let job = team.get("other").await?;
        ensure!(job.is_finished(), "{:?}", job.status);
        Ok(job)
    });
    assert_eq!(ended.await?.phase(), Phase::Succeeded);

    operated
        .jobs
        .delete("two", &DeleteParams::default())
        .await?;
    assert_eq!(operated.ended("held").await?.phase, Phase::Succeeded);
    for name in ["one", "three"] {
        assert_eq!(operated.ended(name).await?.phase, Phase::Succeeded);
    }
    metric(
        &operated,
        "finished_jobs_deleted_total{cause=\"limit\"} 0\n",
    )
    .await?;
    operated.judge();
    Ok(())
}

#[tokio::test]
async fn a_job_of_the_api_that_goes_early_leaves_a_record_of_its_end() -> Result<()> {
    let mut operated = Operated::start(Options::flags(LIMITED)).await?;
    operated.submit("applied", "caption x").await?;
    operated.ended("applied").await?;
    let first = run_for_api(&operated, 1).await?;
    let second = run_for_api(&operated, 2).await?;
    gone(&operated, &name(1)).await?;
    let left = record(&operated, &name(1)).await?.unwrap();
    assert_eq!(left.status, first.status);
    assert_eq!(left.uid(), first.uid());

    operated.operator.restart().await?;
    run_for_api(&operated, 3).await?;
    gone(&operated, &name(2)).await?;
    let left = record(&operated, &name(2)).await?.unwrap();
    assert_eq!(left.status, second.status);
    metric(
        &operated,
        "finished_jobs_deleted_total{cause=\"limit\"} 1\n",
    )
    .await?;
    assert_eq!(operated.ended("applied").await?.phase, Phase::Succeeded);
    operated.judge();
    Ok(())
}

#[tokio::test]
async fn a_job_whose_record_cannot_be_stored_stays() -> Result<()> {
    let proxy = S3Proxy::start(None).await?;
    let mut options = Options::flags(LIMITED);
    let endpoint = ("FOVEA_S3_ENDPOINT".to_owned(), proxy.url.clone());
    options.env.push(endpoint);
    let operated = Operated::start(options).await?;
    proxy.target(operated.minio.endpoint());
    let (refused, mut refusals) = tokio::sync::mpsc::unbounded_channel();
    let refuse = proxy.rule(Arc::new(move |request| {
        let put = request.method == "PUT" && request.uri.path().contains("/results/");
        let refused = refused.clone();
        async move {
            if !put {
                return Verdict::Pass;
            }
            let _ = refused.send(());
            Verdict::Fail(403)
        }
        .boxed()
    }));
    for number in 1..=3 {
        run_for_api(&operated, number).await?;
    }
    tokio::time::timeout(PATIENCE, refusals.recv()).await?;
    assert!(operated.jobs.get_opt(&name(1)).await?.is_some());
    assert!(record(&operated, &name(1)).await?.is_none());
    proxy.lift(&refuse);
    gone(&operated, &name(1)).await?;
    assert!(record(&operated, &name(1)).await?.is_some());
    operated.judge();
    Ok(())
}
