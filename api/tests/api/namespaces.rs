//! A namespace that is created again under its old name, and a bucket of another installation.

use super::harness::{
    BUCKET, Service, Surroundings, cluster, is_stored, own_minio, put, send, until,
};
use super::pictures::jpeg;
use fovea_store::{ObjectKey, Sha256, Store, StoreConfig};
use fovea_tests::operated::recreate_namespace;
use fovea_tests::proxy::{Fate, Proxy, Rule};
use http::Method;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::time::Duration;

async fn uid(api: &Service) -> anyhow::Result<String> {
    let namespaces: Api<Namespace> = Api::all(api.cluster.clone());
    let namespace = namespaces.get(api.namespace.name()).await?;
    Ok(namespace.uid().expect("a uid"))
}

/// The API server gets the create only when the namespace is another one than when the picture was put.
#[tokio::test]
async fn a_create_that_outlasts_its_namespace_has_its_picture_in_the_new_one() -> anyhow::Result<()>
{
    let proxy = Proxy::start(cluster().await?, None).await?;
    let delay = Rule::next(1, Method::POST, "inferencejobs", Fate::DelayRequest);
    proxy.rule([delay]);
    let flags = ["--kube-timeout-ms=120000"];
    let api = Service::start_in(Surroundings::behind(&proxy).await?, &flags).await?;
    let picture = jpeg(90);
    let key = |uid: &str| {
        let sha256 = Sha256::of(&picture);
        ObjectKey::upload(api.namespace.name(), uid, &sha256).map(|key| key.to_string())
    };
    let before = uid(&api).await?;
    let request = api.post(picture.clone()).timeout(Duration::from_mins(3));
    let posted = tokio::spawn(send(request));
    proxy.holds_one().await?;
    assert!(is_stored(&key(&before)?).await?);
    let after = recreate_namespace(&api.cluster, api.namespace.name()).await?;
    assert!(!is_stored(&key(&after)?).await?);
    proxy.release();
    let id = posted.await??.id()?;
    assert!(is_stored(&key(&after)?).await?);
    assert_eq!(api.names().await?, std::slice::from_ref(&id));
    assert_eq!(api.job(&id, "/input").send().await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn an_object_in_the_folder_of_an_earlier_namespace_is_not_returned() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let marker = ObjectKey::folder_owner(api.namespace.name())?;
    put(&format!("data/{}/a.jpg", api.namespace.name()), jpeg(91)).await?;
    let id = send(api.post_json(&json!({"key": "a.jpg"}))).await?.id()?;
    let input = || send(api.job(&id, "/input"));
    assert_eq!(input().await?.status, 200, "it has no owner");
    put(marker.as_str(), b"an earlier uid\n".to_vec()).await?;
    let answer = input().await?;
    assert_eq!((answer.status, answer.problem()), (404, "no-such-picture"));
    let detail = answer.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(marker.as_str()), "{detail}");
    put(marker.as_str(), uid(&api).await?.into_bytes()).await?;
    assert_eq!(input().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn an_api_in_the_bucket_of_another_installation_is_not_ready() -> anyhow::Result<()> {
    let minio = own_minio().await?;
    let config = StoreConfig::at(minio.endpoint().parse()?, BUCKET);
    let store = Store::connect_as(&config, minio.access_key(), minio.secret_key()).await?;
    let marker = ObjectKey::installation();
    let of = |uid: &str| json!({"uids": [uid], "name": "there/fovea-operator"}).to_string();
    store
        .put(&marker, of("another cluster").into(), "application/json")
        .await?;
    let surroundings = Surroundings::with(&minio).await?;
    let api = Service::start_in(surroundings, &["--auth", "kubernetes"]).await?;
    let answer = api.get("/readyz?verbose").await?;
    assert_eq!(answer.status, 503);
    let lines = answer.body.to_string();
    for part in [
        "[-]installation",
        "there/fovea-operator",
        "delete that object",
    ] {
        assert!(lines.contains(part), "{lines}");
    }
    store.delete(&marker).await?;
    let ready = async || {
        let answer = api.get("/readyz").await?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    };
    until("it to be ready without a marker", ready).await?;
    let namespaces: Api<Namespace> = Api::all(api.cluster.clone());
    let cluster = namespaces.get("kube-system").await?.uid().expect("a uid");
    store
        .put(&marker, of(&cluster).into(), "application/json")
        .await?;
    assert_eq!(api.get("/readyz").await?.status, 200);
    Ok(())
}
