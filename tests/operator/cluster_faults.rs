//! Faults of the API server: it is unavailable, loses answers or rejects requests. After each fault
//! every job has ended exactly once.

use anyhow::{Result, anyhow};
use axum::http::Method;
use fovea_crds::{InferenceJob, JobResult, Phase};
use fovea_harness::eventually;
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::operated::{JOBS, OPERATOR, PATIENCE};
use fovea_tests::proxy::{Fate, Proxy, Rule};
use fovea_tests::{Operated, Options};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const INFERENCE_JOBS: &str = "inferencejobs.fovea.dev";

const JOBS_WATCH: &str = "inferencejobs?&watch=true";
const STATUS: &str = "/status";

/// The leader's watches but for that of the jobs: pools (two), namespaces and eight kinds of objects of pools,
/// of which Secrets have two.
const OTHER_WATCHES: u32 = 11;

/// A fault is noticed within 25 s; the rest is for a loaded machine.
const NOTICED: Duration = Duration::from_secs(45);

/// An operator that reaches the API server only through the proxy.
async fn behind_a_proxy() -> Result<(Operated, Proxy)> {
    let options = Options::default();
    let mut operated = Operated::start(options.clone()).await?;
    let proxy = Proxy::start(&operated.control_plane, Some(OPERATOR)).await?;
    operated.operator.terminate().await?;
    let kubeconfig = Some(proxy.kubeconfig.clone());
    operated.operator = operated.another_operator(&options, kubeconfig).await?;
    operated.submit("first", "caption x").await?;
    operated.ended("first").await?;
    Ok((operated, proxy))
}

async fn all_succeed(operated: &Operated, prefix: &str, count: u32, attempts: u32) -> Result<()> {
    for number in 0..count {
        let status = operated.ended(&format!("{prefix}-{number}")).await?;
        let end = (status.phase, status.attempts);
        assert_eq!(end, (Phase::Succeeded, attempts), "{status:?}");
    }
    operated.judge();
    Ok(())
}

#[tokio::test]
async fn jobs_created_while_watches_break_or_expire_are_found() -> Result<()> {
    let (operated, proxy) = behind_a_proxy().await?;
    for (prefix, fate) in [
        ("dropped", Fate::LoseRequest),
        ("old", Fate::Answer(410)),
        ("refused", Fate::Answer(500)),
    ] {
        proxy.rule([Rule::every(Method::GET, "watch=true", fate)]);
        proxy.break_watches();
        for number in 0..3 {
            operated
                .submit(&format!("{prefix}-{number}"), "caption x")
                .await?;
        }
        proxy.rule([]);
        all_succeed(&operated, prefix, 3, 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_write_that_was_refused_or_whose_answer_was_lost_is_settled_without_a_second_run()
-> Result<()> {
    let (operated, proxy) = behind_a_proxy().await?;
    for (prefix, fate) in [
        ("conflict", Fate::Answer(409)),
        ("of-a-proxy", Fate::Answer(404)),
        ("not-found", Fate::NotFound),
        ("too-many", Fate::Answer(429)),
        ("internal", Fate::Answer(500)),
        ("request-lost", Fate::LoseRequest),
        ("answer-lost", Fate::LoseAnswer),
    ] {
        proxy.rule([Rule::next(6, Method::PUT, STATUS, fate)]);
        let mut uids = Vec::new();
        for number in 0..4 {
            let job = operated
                .submit(&format!("{prefix}-{number}"), "caption x")
                .await?;
            uids.push(job.metadata.uid.unwrap());
        }
        all_succeed(&operated, prefix, 4, 1).await?;
        assert!(proxy.met() > 0, "no write has met its fate");
        for uid in uids {
            assert_eq!(operated.runner.attempts_of(&uid).len(), 1, "{prefix}");
        }
    }
    Ok(())
}

/// Reads before attempts, the write of `Accepted`, the read after it and the next one: all are answered as if
/// the job were gone.
#[tokio::test]
async fn a_job_that_is_wrongly_called_gone_is_looked_at_again() -> Result<()> {
    let (operated, proxy) = behind_a_proxy().await?;
    proxy.rule([
        Rule::every(Method::PUT, "/gone/status", Fate::NotFound),
        Rule::every(Method::GET, "/gone", Fate::NotFound),
    ]);
    operated.submit("gone", "caption x").await?;
    let looked = eventually("the job to be looked at again", PATIENCE, async || {
        anyhow::ensure!(proxy.met() >= 5, "{}", proxy.met());
        Ok(())
    });
    looked.await?;
    proxy.rule([]);
    let status = operated.ended("gone").await?;
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    operated.judge();
    Ok(())
}

/// No error and no end reports a silent watch. The operator's pod is ready all the while: a fault is noticed
/// before the watches count as stale.
#[tokio::test]
async fn watches_that_fall_silent_or_are_never_answered_are_noticed_and_go_on() -> Result<()> {
    let (operated, proxy) = behind_a_proxy().await?;
    proxy.rule([
        Rule::next(1, Method::GET, JOBS_WATCH, Fate::HoldRequest),
        Rule::next(OTHER_WATCHES, Method::GET, "watch=true", Fate::Silence),
    ]);
    proxy.break_watches();
    let all = eventually("every watch to meet its fate", PATIENCE, async || {
        anyhow::ensure!(proxy.met() == 1 + OTHER_WATCHES, "{}", proxy.met());
        Ok(())
    });
    all.await?;
    let begun = Instant::now();
    operated.add_pool("later").await?;
    let mut job = Operated::job("unseen", "caption x");
    let pool = json!({"name": "later", "namespace": SYSTEM_NAMESPACE});
    job.spec.pool_ref = serde_json::from_value(pool)?;
    operated.create(&job).await?;
    operated.pool_is_ready("later").await?;
    assert_eq!(operated.ended("unseen").await?.phase, Phase::Succeeded);
    assert!(begun.elapsed() < NOTICED, "{:?}", begun.elapsed());
    operated.judge();
    Ok(())
}

#[tokio::test]
async fn jobs_outlive_a_restart_of_the_api_server() -> Result<()> {
    let mut operated = Operated::start(Options::default()).await?;
    for number in 0..4 {
        operated
            .submit(&format!("at-work-{number}"), "wait 4000 caption x")
            .await?;
    }
    let uid = operated.jobs.get("at-work-0").await?.metadata.uid.unwrap();
    operated.begun(&uid, 1).await?;
    operated.control_plane.api_server().restart().await?;
    all_succeed(&operated, "at-work", 4, 1).await
}

/// A result belongs to a uid: a job recreated under the name of a running one gets its own result.
#[tokio::test]
async fn a_job_recreated_while_no_watch_is_open_gets_its_own_result() -> Result<()> {
    let (operated, proxy) = behind_a_proxy().await?;
    let first = operated
        .submit("again", "wait 3000 caption the first")
        .await?;
    operated.begun(&first.metadata.uid.unwrap(), 1).await?;
    proxy.rule([Rule::every(Method::GET, JOBS_WATCH, Fate::LoseRequest)]);
    proxy.break_watches();
    operated
        .jobs
        .delete("again", &DeleteParams::default())
        .await?;
    operated.submit("again", "caption the second").await?;
    // The first attempt's end meets the second job.
    let at_its_end = eventually("the first attempt's end", PATIENCE, async || {
        let attempts = operated.runner.attempts();
        anyhow::ensure!(
            attempts.iter().all(|each| each.ended.is_some()),
            "{attempts:?}"
        );
        Ok(())
    });
    at_its_end.await?;
    assert!(proxy.met() > 0, "no watch has met its fate");
    proxy.rule([]);
    let status = operated.ended("again").await?;
    let caption = JobResult::Caption("the second".to_owned());
    assert_eq!(status.result, Some(caption));
    operated.judge();
    Ok(())
}

#[tokio::test]
async fn a_job_whose_labels_keep_changing_still_ends() -> Result<()> {
    let operated = Operated::start(Options::default()).await?;
    let jobs = operated.jobs.clone();
    let names: Vec<String> = (0..4).map(|number| format!("restless-{number}")).collect();
    for name in &names {
        operated.submit(name, "wait 2000 caption x").await?;
    }
    let relabelled = names.clone();
    let labelling = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(20));
        for count in 0.. {
            every.tick().await;
            for name in &relabelled {
                let patch =
                    Patch::Merge(json!({"metadata": {"labels": {"count": format!("{count}")}}}));
                let _ = jobs.patch(name, &PatchParams::default(), &patch).await;
            }
        }
    });
    all_succeed(&operated, "restless", 4, 1).await?;
    labelling.abort();
    Ok(())
}

#[tokio::test]
async fn an_object_that_does_not_decode_is_reported_and_blocks_no_other() -> Result<()> {
    let operated = Operated::start(Options::default()).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(operated.client.clone());
    let mut newer = serde_json::to_value(crds.get(INFERENCE_JOBS).await?)?;
    let task = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/task/enum";
    let tasks = newer.pointer_mut(task).and_then(Value::as_array_mut);
    tasks.expect("the tasks").push(json!("image-to-poem"));
    let newer: CustomResourceDefinition = serde_json::from_value(newer)?;
    crds.replace(INFERENCE_JOBS, &PostParams::default(), &newer)
        .await?;
    let mut poem = serde_json::to_value(Operated::job("poem", "caption x"))?;
    poem["spec"]["task"] = json!("image-to-poem");
    let poem: DynamicObject = serde_json::from_value(poem)?;
    let resource = ApiResource::erase::<InferenceJob>(&());
    let untyped: Api<DynamicObject> =
        Api::namespaced_with(operated.client.clone(), JOBS, &resource);
    let made = eventually("the new task to be allowed", PATIENCE, async || {
        untyped.create(&PostParams::default(), &poem).await
    });
    let poem = made.await?;
    operated.submit("prose", "caption x").await?;
    assert_eq!(operated.ended("prose").await?.phase, Phase::Succeeded);
    let events: Api<Event> = Api::namespaced(operated.client.clone(), JOBS);
    let reported = eventually("an Event", PATIENCE, async || {
        let events = events.list(&ListParams::default()).await?;
        let found = events.items.into_iter().find(|event| {
            let about = event.regarding.as_ref().and_then(|it| it.uid.clone());
            about == poem.metadata.uid && event.reason.as_deref() == Some("NotDecodable")
        });
        found.ok_or_else(|| anyhow!("none"))
    });
    reported.await?;
    Ok(())
}
