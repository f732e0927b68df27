//! Jobs whose objects the operator deleted early, and namespaces that are full.

use super::harness::{Service, is_stored, put, send, until};
use super::pictures::jpeg;
use anyhow::Context as _;
use fovea_store::ObjectKey;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_hours(1);

async fn namespace_uid(api: &Service) -> anyhow::Result<String> {
    let namespaces: Api<Namespace> = Api::all(api.cluster.clone());
    let namespace = namespaces.get(api.namespace.name()).await?;
    namespace.uid().context("no uid")
}

/// Ends a job, then replaces it by its record, as the operator would; returns the record's key.
async fn replace(api: &Service, id: &str, expires: SystemTime) -> anyhow::Result<String> {
    let status = json!({"phase": "Succeeded", "result": {"caption": "a cat"}});
    let job = api.write_status(id, status).await?;
    let seconds = expires.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let uid = job.uid().context("no uid")?;
    let namespace_uid = namespace_uid(api).await?;
    let name = api.namespace.name();
    let key = ObjectKey::record(name, &namespace_uid, id, (seconds, &uid))?;
    put(key.as_str(), serde_json::to_vec(&job.trimmed())?).await?;
    api.jobs.delete(id, &DeleteParams::default()).await?;
    until("the job to be deleted", || async {
        anyhow::ensure!(api.jobs.get_opt(id).await?.is_none(), "it stays");
        Ok(())
    })
    .await?;
    Ok(key.to_string())
}

#[tokio::test]
async fn a_job_that_went_early_is_answered_from_its_record_until_it_is_deleted()
-> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let keyed = || api.post(jpeg(90)).header("idempotency-key", "order-90");
    let id = send(keyed()).await?.id()?;
    let key = replace(&api, &id, SystemTime::now() + HOUR).await?;

    let read = api.get(&format!("/v1/jobs/{id}")).await?;
    assert_eq!(
        (read.status, &read.body["phase"]),
        (200, &json!("Succeeded"))
    );
    let result = send(api.job(&id, "/result")).await?;
    assert_eq!(result.body, json!({"caption": "a cat"}));
    let waited = send(api.job(&id, "").header("prefer", "wait=20")).await?;
    assert_eq!(waited.status, 200);

    let again = send(keyed()).await?;
    assert_eq!(again.body["id"], json!(id), "{again:?}");
    let other = api.post(jpeg(91)).header("idempotency-key", "order-90");
    let other = send(other).await?;
    assert_eq!(
        (other.status, other.problem()),
        (422, "idempotency-key-reused")
    );
    assert!(api.names().await?.is_empty());

    let url = format!("{}/v1/jobs/{id}", api.base);
    let cancelled = send(api.http.post(format!("{url}/cancel"))).await?;
    assert_eq!(cancelled.problem(), "already-finished");
    assert_eq!(send(api.http.delete(&url)).await?.status, 204);
    assert!(!is_stored(&key).await?);
    assert_eq!(api.get(&format!("/v1/jobs/{id}")).await?.status, 404);
    assert_eq!(send(api.http.delete(&url)).await?.status, 404);
    assert_eq!(send(keyed()).await?.status, 202);
    Ok(())
}

#[tokio::test]
async fn a_client_of_a_replaced_service_reads_a_job_that_went_early() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let file = reqwest::multipart::Part::bytes(jpeg(96)).file_name("cat.jpg");
    let form = reqwest::multipart::Form::new().part("file", file);
    let url = format!("{}/api/v1/upload", api.base);
    let uploaded = send(api.http.post(url).multipart(form)).await?;
    let id = uploaded.body["job_id"]
        .as_str()
        .context("no id")?
        .to_owned();
    replace(&api, &id, SystemTime::now() + HOUR).await?;
    let read = api.get(&format!("/api/v1/status/{id}")).await?;
    assert_eq!(read.body["status"], "SUCCESS");
    assert_eq!(read.body["result"], json!({"caption": "a cat"}));
    Ok(())
}

#[tokio::test]
async fn an_expired_record_or_one_of_a_former_namespace_is_no_job() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let expired = send(api.post(jpeg(92))).await?.id()?;
    replace(&api, &expired, SystemTime::now() - Duration::from_secs(1)).await?;
    assert_eq!(api.get(&format!("/v1/jobs/{expired}")).await?.status, 404);

    let (former, id) = (
        uuid::Uuid::new_v4().to_string(),
        uuid::Uuid::new_v4().to_string(),
    );
    let hence = (SystemTime::now() + HOUR).duration_since(SystemTime::UNIX_EPOCH)?;
    let key = ObjectKey::record(api.namespace.name(), &former, &id, (hence.as_secs(), &id))?;
    put(key.as_str(), b"{}".to_vec()).await?;
    assert_eq!(api.get(&format!("/v1/jobs/{id}")).await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn a_full_namespace_gets_no_new_job_but_finds_those_of_its_keys() -> anyhow::Result<()> {
    is_refused_while("TooManyFinishedJobs", ("too-many-finished-jobs", "30")).await?;
    is_refused_while("QuotaExceeded", ("too-many-unfinished-jobs", "10")).await
}

/// `problem`: its kind, and when to try again.
async fn is_refused_while(reason: &str, problem: (&str, &str)) -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let keyed = || api.post(jpeg(93)).header("idempotency-key", "order-93");
    let held = send(keyed()).await?.id()?;
    let condition = json!({
        "type": "Accepted", "status": "False", "reason": reason,
        "message": "full", "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let status = json!({"phase": "Pending", "conditions": [condition]});
    api.write_status(&held, status).await?;
    let full = until("the namespace to be full", || async {
        let answer = send(api.post(jpeg(94))).await?;
        anyhow::ensure!(answer.status == 429, "{answer:?}");
        Ok(answer)
    })
    .await?;
    assert_eq!(full.problem(), problem.0);
    assert_eq!(full.header("retry-after"), Some(problem.1));
    assert_eq!(send(keyed()).await?.body["id"], json!(held));
    let new_key = api.post(jpeg(95)).header("idempotency-key", "order-95");
    assert_eq!(send(new_key).await?.status, 429);

    api.write_status(&held, json!({"phase": "Cancelled"}))
        .await?;
    until("room in the namespace", || async {
        let answer = send(api.post(jpeg(94))).await?;
        anyhow::ensure!(answer.status == 202, "{answer:?}");
        Ok(())
    })
    .await
}
