//! What the API may do in the cluster: no more than this, and no less.

use super::auth::account;
use super::harness::{Service, Surroundings, cluster, send};
use super::pictures::jpeg;
use anyhow::Context as _;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde::Deserialize as _;
use serde_json::{Value, json};

const USER: &str = "system:serviceaccount:fovea-system:fovea-api";

async fn as_user(user: &str) -> anyhow::Result<Surroundings> {
    let kubeconfig = cluster().await?.kubeconfig_for(user, &[])?;
    Ok(Surroundings {
        kubeconfig,
        ..Surroundings::shared().await?
    })
}

/// Grants what the manifest does, under another name.
async fn grant(client: &Client, name: &str) -> anyhow::Result<()> {
    let manifest = include_str!("../../../manifests/install/rbac/api.yaml");
    let mut documents = serde_yaml::Deserializer::from_str(manifest).map(Value::deserialize);
    let mut role = documents
        .find_map(|object| object.ok().filter(|object| object["kind"] == "ClusterRole"))
        .context("a ClusterRole")?;
    role["metadata"]["name"] = name.into();
    let role: ClusterRole = serde_json::from_value(role)?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    }))?;
    let create = PostParams::default();
    Api::all(client.clone()).create(&create, &role).await?;
    Api::all(client.clone()).create(&create, &binding).await?;
    Ok(())
}

#[tokio::test]
async fn it_reads_namespaces_and_pools_reviews_and_makes_follows_and_ends_jobs_and_needs_nothing_else()
-> anyhow::Result<()> {
    let surroundings = as_user(USER).await?;
    let api = Service::start_in(surroundings, &["--auth", "kubernetes"]).await?;
    let name = format!("rights-{}", api.namespace.name());
    grant(&api.cluster, &name).await?;
    super::harness::until("the rights to hold", || async {
        let answer = api.get("/readyz").await?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
    .await?;
    let token = account(
        &api.cluster,
        api.namespace.name(),
        "user",
        &["create", "get", "list", "patch", "delete"],
    )
    .await?;
    let keyed = || {
        send(
            api.post(jpeg(40))
                .header("idempotency-key", "k")
                .bearer_auth(&token),
        )
    };
    let id = keyed().await?.id()?;
    assert_eq!(keyed().await?.id()?, id);
    let ask = |request: reqwest::RequestBuilder| send(request.bearer_auth(&token));
    for path in [
        format!("/v1/jobs/{id}"),
        "/v1/jobs".to_owned(),
        "/v1/models".to_owned(),
        format!("/v1/jobs/{id}/input"),
    ] {
        let answer = ask(api.http.get(format!("{}{path}", api.base))).await?;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let cancelled = ask(api.http.post(format!("{}/v1/jobs/{id}/cancel", api.base))).await?;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    let deleted = ask(api.http.delete(format!("{}/v1/jobs/{id}", api.base))).await?;
    assert_eq!(deleted.status, 204, "{deleted:?}");

    let delete = DeleteParams::default();
    let (roles, bindings): (Api<ClusterRole>, Api<ClusterRoleBinding>) =
        (Api::all(api.cluster.clone()), Api::all(api.cluster.clone()));
    roles.delete(&name, &delete).await?;
    bindings.delete(&name, &delete).await?;
    Ok(())
}

#[tokio::test]
async fn missing_rights_are_our_defect_and_the_client_learns_no_names() -> anyhow::Result<()> {
    let user = "system:serviceaccount:fovea-system:nobody";
    let api = Service::start_in(as_user(user).await?, &[]).await?;
    assert_eq!(api.get("/readyz").await?.status, 503);
    let answer = send(api.post_json(&json!({"key": "a.jpg"}))).await?;
    assert_eq!((answer.status, answer.problem()), (500, "internal"));
    assert!(!answer.body.to_string().contains("nobody"), "{answer:?}");
    Ok(())
}
