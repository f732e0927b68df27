//! The operator's RBAC rights are exactly those that it uses. Every other test runs it with these
//! rights as well, and fails on a missing one by the API server's audit log; this file finds rights
//! that are not needed.

use super::sweeping::Bucket;
use anyhow::{Context as _, Result, ensure};
use fovea_crds::{Callback, InferenceJob, Phase, conditions};
use fovea_harness::{eventually, stack};
use fovea_store::ObjectKey;
use fovea_tests::operated::{JOBS, PATIENCE, TEAM, apply_pool};
use fovea_tests::receiver::{Authority, Receiver};
use fovea_tests::{Operated, Options};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

/// Makes the operator send every kind of request to the API server.
async fn tour(operated: &Operated, options: &Options, receiver: &Receiver) -> Result<()> {
    // A job, its callback with the namespace's Secret, and its deletion.
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "fovea-webhook"}, "type": "fovea.dev/webhook",
        "stringData": {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
    }))?;
    let secrets: Api<Secret> = Api::namespaced(operated.client.clone(), JOBS);
    secrets.create(&PostParams::default(), &secret).await?;
    let mut job = Operated::job("delivered", "caption x");
    let url = format!("https://localhost:{}/delivered/200", receiver.port);
    job.spec.callback = Some(Callback { url });
    operated.create(&job).await?;
    let delivered = |status: &fovea_crds::InferenceJobStatus| {
        (status.callback.as_ref()).is_some_and(|callback| callback.delivered)
    };
    operated
        .status_where("delivered", "to be delivered", delivered)
        .await?;
    let mut job = Operated::job("brief", "caption x");
    job.spec.ttl_seconds_after_finished = Some(0);
    operated.create(&job).await?;
    eventually("the job to be deleted", PATIENCE, async || {
        ensure!(operated.jobs.get_opt("brief").await?.is_none(), "there");
        Ok(())
    })
    .await?;
    // A write that lands on a version that is outdated is settled by a read.
    let uid = operated.submit("changed", "wait 3000 caption x").await?;
    operated.begun(&uid.metadata.uid.unwrap(), 1).await?;
    operated.patch("changed", json!({"priority": 1})).await?;
    operated.ended("changed").await?;

    // A degraded pool, with an Event and repetitions of it.
    for port in 9..12 {
        let endpoint = &*format!("http://127.0.0.1:{port}");
        let token =
            json!({"external": {"endpoints": [endpoint], "tokenSecretRef": {"name": "missing"}}});
        apply_pool(&operated.client, "faulty", &[], &token).await?;
        pool_reports(operated, "faulty", endpoint).await?;
    }
    a_pool_s_life(operated).await?;
    // A standby, which takes over.
    let (standby, _) = operated.standby(options).await?;
    eventually("the standby to observe the Lease", PATIENCE, async || {
        let unused = format!("{:?}", operated.audit.unused()?);
        ensure!(
            !unused.contains(r#"resource: "leases", verb: "list""#),
            "{unused}"
        );
        Ok(())
    })
    .await?;
    assert!(operated.operator.terminate().await?.success());
    let status = operated.submit("after", "caption x").await?;
    operated.ended(&status.metadata.name.unwrap()).await?;
    drop(standby);
    Ok(())
}

/// Runs a pool with pods and an import, scales it down and turns it into an external one.
async fn a_pool_s_life(operated: &Operated) -> Result<()> {
    let pool = |spec: Value| {
        json!({
            "apiVersion": "fovea.dev/v1alpha1", "kind": "RunnerPool",
            "metadata": {"name": "pods"}, "spec": spec,
        })
    };
    let apply = async |spec: Value| {
        let params = PatchParams::apply("test").force();
        let patch = Patch::Apply(pool(spec));
        operated.pools.patch("pods", &params, &patch).await
    };
    let secrets: Api<Secret> = Api::namespaced(operated.client.clone(), stack::SYSTEM_NAMESPACE);
    let token = json!({"metadata": {"name": "hub"}, "stringData": {"token": "wrong"}});
    let token: Secret = serde_json::from_value(token)?;
    secrets.create(&PostParams::default(), &token).await?;
    let hub = json!({"huggingFace": {"repo": "owner/name", "tokenSecretRef": {"name": "hub"}}});
    let models = json!([{"name": "m", "task": "image-to-text", "source": hub}]);
    apply(json!({"models": models, "replicas": 2})).await?;
    let replicas = async |wanted: i32| {
        eventually("pods", PATIENCE, async || {
            let status = operated.pools.get("pods").await?.status.unwrap_or_default();
            ensure!(status.replicas == u32::try_from(wanted)?, "{status:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await
    };
    replicas(2).await?;
    an_import_fails(operated, &secrets).await?;
    a_pod_is_not_begun(operated).await?;
    apply(json!({"models": models, "replicas": 1})).await?;
    replicas(1).await?;
    let url = operated.runner.url.clone();
    let models = json!([{"name": "captions", "task": "image-to-text"}]);
    apply(json!({"models": models, "external": {"endpoints": [url]}})).await?;
    operated.pool_is_ready("pods").await
}

/// Makes an import fail by its deadline; a new token starts another one.
async fn an_import_fails(operated: &Operated, secrets: &Api<Secret>) -> Result<()> {
    let jobs: Api<Job> = Api::namespaced(operated.client.clone(), stack::SYSTEM_NAMESPACE);
    let import = async || {
        let jobs = jobs.list(&ListParams::default()).await?;
        jobs.items.into_iter().next().context("no import")
    };
    let failing = eventually("the import", PATIENCE, import).await?;
    let params = PatchParams::default();
    let brief = Patch::Merge(json!({"spec": {"activeDeadlineSeconds": 1}}));
    jobs.patch(&failing.name_any(), &params, &brief).await?;
    pool_reports(operated, "pods", "tried again after").await?;
    let right = Patch::Merge(json!({"stringData": {"token": "right"}}));
    secrets.patch("hub", &params, &right).await?;
    eventually("another import", PATIENCE, async || {
        ensure!(import().await?.uid() != failing.uid(), "the same");
        Ok(())
    })
    .await?;
    Ok(())
}

async fn a_pod_is_not_begun(operated: &Operated) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(operated.client.clone(), stack::SYSTEM_NAMESPACE);
    let selected = ListParams::default().labels("fovea.dev/pool=pods");
    let pod = pods.list(&selected).await?.items.remove(0);
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "unmounted"}, "type": "Warning", "reason": "FailedMount",
        "message": "no such disk", "lastTimestamp": jiff::Timestamp::now().to_string(),
        "involvedObject": {
            "kind": "Pod", "name": pod.name_any(), "uid": pod.uid(),
            "namespace": stack::SYSTEM_NAMESPACE,
        },
    }))?;
    let events: Api<Event> = Api::namespaced(operated.client.clone(), stack::SYSTEM_NAMESPACE);
    events.create(&PostParams::default(), &event).await?;
    let scheduled = json!([{
        "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let scheduled = Patch::Merge(json!({"status": {"conditions": scheduled}}));
    let params = PatchParams::default();
    pods.patch_status(&pod.name_any(), &params, &scheduled)
        .await?;
    pool_reports(operated, "pods", "no such disk").await
}

/// Waits until a condition's message in the pool's status contains `words`.
async fn pool_reports(operated: &Operated, pool: &str, words: &str) -> Result<()> {
    eventually("the pool's message", PATIENCE, async || {
        let status = operated.pools.get(pool).await?.status.unwrap_or_default();
        let mut conditions = status.conditions.iter();
        let found = conditions.any(|each| each.message.contains(words));
        ensure!(found, "{status:?}");
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_operator_has_the_rights_that_it_uses_and_no_others() -> Result<()> {
    let authority = Authority::new()?;
    let receiver = Receiver::start(&authority).await?;
    let mut options = Options::flags(["--sweep-every-seconds=1", "--sweep-grace-seconds=1800"]);
    options.flags.extend([
        format!("--callback-allow=localhost:{}", receiver.port),
        format!("--callback-ca-file={}", authority.file().display()),
    ]);
    let operated = Operated::start(options.clone()).await?;
    tour(&operated, &options, &receiver).await?;

    eventually("every right to be used", PATIENCE, async || {
        let unused = operated.audit.unused()?;
        ensure!(unused.is_empty(), "never used: {unused:#?}");
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_operator_of_one_namespace_needs_no_right_on_any_other() -> Result<()> {
    let mut options = Options::flags(["--watch-namespace=team-a", "--sweep-every-seconds=1"]);
    options.rights[1] = "manifests/install/watch-namespace/operator/rbac-jobs.yaml";
    let operated = Operated::start(options).await?;
    let team: Api<InferenceJob> = Api::namespaced(operated.client.clone(), TEAM);
    let create = PostParams::default();
    team.create(&create, &Operated::job("ours", "caption x"))
        .await?;
    operated.submit("theirs", "caption x").await?;
    let ended = eventually("the job to end", PATIENCE, async || {
        let status = team.get("ours").await?.status.unwrap_or_default();
        ensure!(status.phase == Phase::Succeeded, "{status:?}");
        Ok(())
    });
    ended.await?;
    // Of batches that are gone, those of this namespace.
    let bucket = Bucket::of(&operated.minio).await?;
    let of = |number: u8| format!("00000000-0000-4000-8000-00000000000{number}");
    let part = |number: u8| ObjectKey::system(&of(number), "parts/000000.0-9.end.jsonl");
    for (number, namespace) in [(1, TEAM), (2, JOBS)] {
        bucket.put_old(&part(number)?).await?;
        let key = ObjectKey::batch_namespace(&of(number))?;
        bucket.put_old_text(&key, namespace).await?;
    }
    bucket.loses(&part(1)?).await?;
    bucket.loses(&ObjectKey::batch_namespace(&of(1))?).await?;
    // A complete sweep needs every list.
    eventually("a sweep", PATIENCE, async || {
        let metrics = reqwest::get(format!("{}/metrics", operated.health_url)).await?;
        let metrics = metrics.text().await?;
        let complete = "fovea_operator_sweeps_total{outcome=\"complete\"} ";
        ensure!(
            metrics.contains(complete),
            "{}",
            operated.operator.log_tail()
        );
        Ok(())
    })
    .await?;
    let status = operated.jobs.get("theirs").await?.status;
    let observed = status.and_then(|status| status.observed_generation);
    assert_eq!(observed, Some(conditions::UNOBSERVED));
    assert!(bucket.has(&part(2)?).await?);
    Ok(())
}
