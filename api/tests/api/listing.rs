//! Pages of jobs.

use super::harness::{Service, Surroundings, cluster, send};
use super::pictures::jpeg;
use fovea_crds::annotations;
use fovea_tests::proxy::{Fate, Proxy, Rule};
use http::Method;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn ids(list: &Value) -> Vec<String> {
    let jobs = list["jobs"].as_array().cloned().unwrap_or_default();
    let id = |job: &Value| job["id"].as_str().unwrap_or_default().to_owned();
    jobs.iter().map(id).collect()
}

/// All ids of a list, page by page, and how many pages there were.
async fn collect(api: &Service, query: &str) -> anyhow::Result<(Vec<String>, usize)> {
    let mut page = api.get(&format!("/v1/jobs?{query}")).await?;
    let (mut all, mut pages) = (Vec::new(), 1);
    loop {
        anyhow::ensure!(page.status == 200, "{page:?}");
        all.extend(ids(&page.body));
        let Some(token) = page.body["continue"].as_str() else {
            anyhow::ensure!(page.body["continue"].is_null());
            return Ok((all, pages));
        };
        page = api
            .get(&format!("/v1/jobs?limit=2&continue={token}"))
            .await?;
        pages += 1;
    }
}

async fn submit(api: &Service, count: u8, task: &str) -> anyhow::Result<Vec<String>> {
    let mut made = Vec::new();
    for seed in 0..count {
        let request = api.post(jpeg(seed)).query(&[("task", task)]);
        made.push(send(request).await?.id()?);
    }
    Ok(made)
}

#[tokio::test]
async fn every_job_is_on_one_page() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    assert_eq!(
        api.get("/v1/jobs").await?.body,
        json!({"jobs": [], "continue": null})
    );
    let made: BTreeSet<String> = submit(&api, 5, "image-to-text")
        .await?
        .into_iter()
        .collect();
    let (listed, pages) = collect(&api, "limit=2").await?;
    assert_eq!((listed.len(), pages), (5, 3));
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), made);
    // A job in a list equals the job read alone.
    let list = api.get("/v1/jobs").await?.body;
    let id = &ids(&list)[0];
    assert_eq!(
        list["jobs"][0],
        api.get(&format!("/v1/jobs/{id}")).await?.body
    );
    Ok(())
}

#[tokio::test]
async fn jobs_are_filtered_by_phase_and_task() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let captions = submit(&api, 3, "image-to-text").await?;
    let found = submit(&api, 2, "object-detection").await?;
    for id in [&captions[0], &found[0]] {
        let failure = json!({"reason": "A", "message": "", "retryable": false});
        api.write_status(id, json!({"phase": "Failed", "failure": failure}))
            .await?;
    }
    // One with the phase Pending, beside those without a status.
    api.write_status(&captions[1], json!({"phase": "Pending"}))
        .await?;
    let sorted = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<BTreeSet<_>>();
    for (query, expected) in [
        ("phase=Failed", sorted(&[&captions[0], &found[0]])),
        ("phase=Failed&task=object-detection", sorted(&[&found[0]])),
        (
            "phase=Pending",
            sorted(&[&captions[1], &captions[2], &found[1]]),
        ),
        (
            "task=object-detection&limit=1",
            sorted(&[&found[0], &found[1]]),
        ),
        ("task=image-classification", sorted(&[])),
        ("phase=Running", sorted(&[])),
        ("phase=Succeeded&limit=500", sorted(&[])),
    ] {
        let (listed, _) = collect(&api, query).await?;
        assert_eq!(listed.len(), expected.len(), "{query}");
        assert_eq!(
            listed.into_iter().collect::<BTreeSet<_>>(),
            expected,
            "{query}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_tombstone_is_not_listed() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let made = submit(&api, 2, "image-to-text").await?;
    let barred = json!({"metadata": {"annotations": {annotations::TOMBSTONE: "true"}}});
    let params = PatchParams::default();
    api.jobs
        .patch(&made[0], &params, &Patch::Merge(barred))
        .await?;
    assert_eq!(collect(&api, "").await?.0, &made[1..]);
    Ok(())
}

#[tokio::test]
async fn an_expired_list_must_be_started_again() -> anyhow::Result<()> {
    let proxy = Proxy::start(cluster().await?, None).await?;
    let api = Service::start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    submit(&api, 2, "image-to-text").await?;
    let first = api.get("/v1/jobs?limit=1").await?;
    let token = first.body["continue"].as_str().unwrap_or_default();
    proxy.rule([Rule::every(Method::GET, "continue=", Fate::Answer(410))]);
    let old = api.get(&format!("/v1/jobs?continue={token}")).await?;
    assert_eq!((old.status, old.problem()), (410, "continue-expired"));
    assert_eq!(api.get("/v1/jobs?limit=1").await?.status, 200);
    Ok(())
}
