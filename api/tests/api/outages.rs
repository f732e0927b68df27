//! Responses while the store or the cluster is down, or refuses a job.

use super::harness::{Service, Surroundings, own_minio, send, until};
use super::pictures::jpeg;
use fovea_tests::proxy::kubeconfig;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use std::net::TcpListener;

#[tokio::test]
async fn without_the_object_store_uploads_are_answered_503_and_reads_as_ever() -> anyhow::Result<()>
{
    let mut minio = own_minio().await?;
    let surroundings = Surroundings::with(&minio).await?;
    let flags = ["--s3-max-attempts", "1", "--check-timeout-ms", "500"];
    let api = Service::start_in(surroundings, &flags).await?;
    let passing = r#"fovea_api_check_passing{check="object-store"}"#;
    until("readyz to pass", || async {
        let answer = api.get("/readyz").await?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
    .await?;
    assert_eq!(api.metric(passing).await?, 1);
    let id = send(api.post(jpeg(20))).await?.id()?;
    minio.process().kill().await?;

    let answer = send(api.post(jpeg(21))).await?;
    assert_eq!(
        (answer.status, answer.problem()),
        (503, "store-unavailable")
    );
    assert!(answer.header("retry-after").is_some());
    assert_eq!(api.names().await?.len(), 1);
    // The replica stays in its Service, and says what is wrong.
    let lines = until("the check to fail", || async {
        let answer = api.get("/readyz?verbose").await?;
        let lines = answer.body.as_str().unwrap_or_default().to_owned();
        anyhow::ensure!(lines.contains("[-]object-store failed"), "{answer:?}");
        assert_eq!(answer.status, 200, "{answer:?}");
        Ok(lines)
    })
    .await?;
    assert!(lines.contains("[+]kubernetes ok"), "{lines}");
    assert_eq!(api.get("/readyz").await?.status, 200);
    assert_eq!(send(api.job(&id, "")).await?.status, 200);
    assert_eq!(api.get("/v1/jobs").await?.status, 200);
    assert_eq!(api.metric(passing).await?, 0);
    let health = api.get("/health").await?;
    assert_eq!(
        (health.status, &health.body["status"]),
        (503, &json!("degraded"))
    );
    assert_eq!(api.get("/livez").await?.status, 200);

    minio.process().restart().await?;
    until("an upload to be accepted", || async {
        send(api.post(jpeg(21))).await?.id()
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_refused_connection_proves_that_no_job_was_created() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let path = scratch.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig(&format!("http://{closed}"), None))?;
    super::harness::cluster().await?;
    let surroundings = Surroundings {
        kubeconfig: path,
        ..Surroundings::shared().await?
    };
    let api = Service::start_in(surroundings, &[]).await?;
    // Not a 504: a request that was never sent needs no settling.
    for request in [api.post_json(&json!({"key": "a.jpg"})), api.post(jpeg(22))] {
        let answer = send(request).await?;
        assert_eq!(
            (answer.status, answer.problem()),
            (503, "cluster-unavailable"),
            "{answer:?}"
        );
    }
    assert_eq!(api.get("/v1/jobs/a").await?.status, 503);
    assert_eq!(api.get("/readyz").await?.status, 503);
    Ok(())
}

#[tokio::test]
async fn an_exhausted_quota_is_answered_429() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(api.cluster.clone(), api.namespace.name());
    let hard = json!({"count/inferencejobs.fovea.dev": "0"});
    let quota: ResourceQuota =
        serde_json::from_value(json!({"metadata": {"name": "jobs"}, "spec": {"hard": hard}}))?;
    quotas.create(&PostParams::default(), &quota).await?;
    // As the quota controller does, half a minute later, once it has discovered the resource.
    let status = json!({"status": {"hard": hard, "used": hard}});
    quotas
        .patch_status("jobs", &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    let answer = until("the quota to hold", || async {
        let answer = send(api.post(jpeg(23))).await?;
        anyhow::ensure!(answer.status != 202, "not yet");
        Ok(answer)
    })
    .await?;
    assert_eq!(
        (answer.status, answer.problem()),
        (429, "quota-exceeded"),
        "{answer:?}"
    );
    assert!(answer.header("retry-after").is_some());
    Ok(())
}
