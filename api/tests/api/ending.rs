//! Jobs that are cancelled or deleted.

use super::harness::{Answer, Service, is_stored, put, send};
use super::pictures::jpeg;
use fovea_store::Sha256;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

async fn cancel(api: &Service, id: &str) -> anyhow::Result<Answer> {
    send(api.http.post(format!("{}/v1/jobs/{id}/cancel", api.base))).await
}

async fn delete(api: &Service, id: &str) -> anyhow::Result<Answer> {
    send(api.http.delete(format!("{}/v1/jobs/{id}", api.base))).await
}

async fn picture_key(api: &Service, picture: &[u8]) -> anyhow::Result<String> {
    let namespaces: Api<Namespace> = Api::all(api.cluster.clone());
    let name = api.namespace.name();
    let uid = namespaces.get(name).await?.uid().unwrap_or_default();
    Ok(format!("uploads/{name}/{uid}/{}", Sha256::of(picture)))
}

#[tokio::test]
async fn a_job_is_cancelled_once_and_stays_cancelled() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(70))).await?.id()?;
    // Cached, so the next response could be older; it must not be.
    api.get(&format!("/v1/jobs/{id}")).await?;
    let first = cancel(&api, &id).await?;
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.body["message"], "The job is being cancelled.");
    assert!(api.jobs.get(&id).await?.spec.cancel);
    assert_eq!(cancel(&api, &id).await?.status, 202);

    api.write_status(&id, json!({"phase": "Cancelled"})).await?;
    let ended = cancel(&api, &id).await?;
    assert_eq!(
        (ended.status, &ended.body["phase"]),
        (200, &json!("Cancelled"))
    );
    Ok(())
}

#[tokio::test]
async fn a_job_that_changes_constantly_can_be_cancelled() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(75))).await?.id()?;
    let busy = async {
        for number in 0.. {
            let labels = json!({"metadata": {"labels": {"count": number.to_string()}}});
            let params = PatchParams::default();
            api.jobs.patch(&id, &params, &Patch::Merge(labels)).await?;
        }
        anyhow::Ok(())
    };
    let cancelled = tokio::select! {
        cancelled = cancel(&api, &id) => cancelled?,
        busy = busy => anyhow::bail!("{busy:?}"),
    };
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    assert!(api.jobs.get(&id).await?.spec.cancel);
    Ok(())
}

#[tokio::test]
async fn a_finished_job_cannot_be_cancelled() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(71))).await?.id()?;
    api.write_status(
        &id,
        json!({"phase": "Succeeded", "result": {"caption": "a"}}),
    )
    .await?;
    let late = cancel(&api, &id).await?;
    assert_eq!((late.status, late.problem()), (409, "already-finished"));
    assert!(!api.jobs.get(&id).await?.spec.cancel);
    Ok(())
}

#[tokio::test]
async fn deleting_a_job_deletes_its_result_and_its_picture() -> anyhow::Result<()> {
    let api = Service::start(&["--picture-grace-seconds", "0"]).await?;
    let picture = jpeg(72);
    let id = send(api.post(picture.clone())).await?.id()?;
    let other = send(api.post(picture.clone())).await?.id()?;
    let uid = api.jobs.get(&id).await?.uid().unwrap_or_default();
    let result = format!("results/{}/{uid}.json", api.namespace.name());
    put(&result, b"{}".to_vec()).await?;
    let upload = picture_key(&api, &picture).await?;

    let answer = delete(&api, &id).await?;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(
        api.get(&format!("/v1/jobs/{id}")).await?.problem(),
        "no-such-job"
    );
    assert_eq!(delete(&api, &id).await?.status, 404);
    assert_eq!(cancel(&api, &id).await?.status, 404);
    assert!(!is_stored(&result).await?);
    // Another job has the same picture.
    assert!(is_stored(&upload).await?);
    assert_eq!(delete(&api, &other).await?.status, 204);
    assert!(!is_stored(&upload).await?);
    Ok(())
}

#[tokio::test]
async fn a_recently_put_picture_is_not_deleted_with_its_job() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let picture = jpeg(73);
    let id = send(api.post(picture.clone())).await?.id()?;
    assert_eq!(delete(&api, &id).await?.status, 204);
    assert!(is_stored(&picture_key(&api, &picture).await?).await?);
    Ok(())
}

#[tokio::test]
async fn a_user_s_own_object_outlives_its_job() -> anyhow::Result<()> {
    let api = Service::start(&["--picture-grace-seconds", "0"]).await?;
    let key = format!("data/{}/cats/1.jpg", api.namespace.name());
    put(&key, jpeg(74)).await?;
    let id = send(api.post_json(&json!({"key": "cats/1.jpg"})))
        .await?
        .id()?;
    assert_eq!(delete(&api, &id).await?.status, 204);
    assert!(is_stored(&key).await?);
    Ok(())
}
