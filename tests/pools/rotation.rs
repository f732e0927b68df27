//! A pool's certificate and token are changed step by step while its runner works: no job notices.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, Phase, Task};
use fovea_harness::eventually;
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::Pods;
use fovea_tests::pods::PATIENCE;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

const POOL: &str = "rotating";
const SECRET: &str = "rotating-runner";
/// Jobs that wait or run at a time: the runner always has one.
const AT_A_TIME: u32 = 10;

fn part(secret: &Secret, key: &str) -> Result<String> {
    let data = secret.data.as_ref().context("data")?;
    let bytes = data.get(key).with_context(|| format!("no {key}"))?;
    Ok(String::from_utf8(bytes.0.clone())?)
}

async fn runner(it: &Pods) -> Result<Pod> {
    let selected = ListParams::default().labels(&format!("fovea.dev/pool={POOL}"));
    let mut pods = it.pods.list(&selected).await?.items;
    ensure!(pods.len() == 1, "{} pods", pods.len());
    Ok(pods.remove(0))
}

/// The status of a request with this version of the Secret; an error if the certificate is not valid for it.
async fn request(pod: &Pod, authority: &Secret, token: &Secret) -> Result<u16> {
    let host = format!("{}.{SECRET}.{SYSTEM_NAMESPACE}.svc", pod.name_any());
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let address = SocketAddr::new(address.context("an address")?.parse()?, 9400);
    let authorities = reqwest::Certificate::from_pem_bundle(part(authority, "ca.crt")?.as_bytes())?;
    let http = reqwest::Client::builder()
        .no_proxy()
        .resolve(&host, address)
        .tls_certs_only(authorities)
        .timeout(Duration::from_secs(10))
        .build()?;
    let url = format!("https://{host}:9400/v1/models");
    let answer = http.get(url).bearer_auth(part(token, "token")?).send();
    Ok(answer.await?.status().as_u16())
}

async fn ended(it: &Pods) -> Result<Vec<InferenceJob>> {
    let jobs = it.jobs.list(&ListParams::default()).await?.items;
    let ours = jobs.into_iter().filter(|job| {
        let status = job.status.as_ref();
        job.name_any().starts_with(POOL) && status.is_some_and(|each| each.phase.is_terminal())
    });
    Ok(ours.collect())
}

#[test]
fn certificate_and_token_are_changed_while_jobs_run_and_no_job_and_no_runner_begins_anew()
-> Result<()> {
    Pods::shared(async |it| {
        it.apply(POOL, &json!({})).await?;
        it.ready(POOL, 1).await?;
        let secrets: Api<Secret> = Api::namespaced(it.client.clone(), SYSTEM_NAMESPACE);
        let (old, first) = (secrets.get(SECRET).await?, runner(it).await?);
        assert_eq!(request(&first, &old, &old).await?, 200);

        // More than two thirds of its life ago.
        let made = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 80);
        let aged = json!({"metadata": {"annotations": {"fovea.dev/made-at": made.to_string()}}});
        let params = PatchParams::default();
        secrets.patch(SECRET, &params, &Patch::Merge(aged)).await?;

        // Each stage, and how many jobs had ended when it was first seen.
        let (stages, submitted) = (RefCell::new(Vec::new()), Cell::new(0));
        let submit = async || -> Result<()> {
            let number = submitted.replace(submitted.get() + 1);
            it.submit(&format!("{POOL}-{number}"), POOL, Task::ImageToText)
                .await
        };
        let new = eventually("the change's three steps", PATIENCE, async || {
            let status = it.pools.get(POOL).await?.status.unwrap_or_default();
            if status.queued + status.running < AT_A_TIME {
                for _ in 0..AT_A_TIME / 2 {
                    submit().await?;
                }
            }
            let secret = secrets.get(SECRET).await?;
            let stage = secret.annotations()["fovea.dev/rotation"].clone();
            if stages
                .borrow()
                .last()
                .is_none_or(|(last, _)| *last != stage)
            {
                let count = ended(it).await?.len();
                stages.borrow_mut().push((stage.clone(), count));
            }
            let done = stage == "settled" && part(&secret, "token")? != part(&old, "token")?;
            ensure!(done, "{stages:?}\n{}", it.operator.log_tail());
            Ok(secret)
        })
        .await?;

        // The runner takes the last step, too: what was is good for nothing.
        let last = runner(it).await?;
        eventually("the old token to be refused", PATIENCE, async || {
            submit().await?;
            let status = request(&last, &new, &old).await?;
            ensure!(status == 401, "{status}");
            Ok(())
        })
        .await?;
        assert_eq!(request(&last, &new, &new).await?, 200);
        assert!(
            request(&last, &old, &new).await.is_err(),
            "an authority that is gone"
        );

        for number in 0..submitted.get() {
            it.succeeded(&format!("{POOL}-{number}")).await?;
        }
        let jobs = ended(it).await?;
        for job in &jobs {
            let status = job.status.as_ref().context("a status")?;
            let whole = (status.phase, status.attempts, status.interruptions);
            ensure!(whole == (Phase::Succeeded, 1, 0), "{job:?}");
        }
        stages.borrow_mut().push(("over".to_owned(), jobs.len()));
        let stages = stages.into_inner();
        let words: Vec<&str> = stages.iter().map(|(stage, _)| stage.as_str()).collect();
        let steps = ["announced", "served", "settled", "over"];
        assert!(words.ends_with(&steps), "{stages:?}");
        let worked = stages[stages.len() - 4..].windows(2);
        let worked = worked.map(|pair| pair[1].1 - pair[0].1).min();
        assert!(worked > Some(0), "jobs ended in each: {stages:?}");

        assert_eq!(first.uid(), last.uid());
        let containers = last.status.and_then(|status| status.container_statuses);
        assert_eq!(containers.context("a container")?[0].restart_count, 0);
        let faults = it.history.faults(&[]);
        ensure!(faults.is_empty(), "{faults:#?}");
        it.scale(POOL, 0).await
    })
}
